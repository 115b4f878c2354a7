"""Names by which a runtime knows a buffer again in another method of the program."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import executorch.backends.vulkan.vulkan_preprocess as preprocess
import torch
from executorch.backends.vulkan.serialization.vulkan_graph_builder import VkGraphBuilder
from executorch.exir import EdgeProgramManager
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from .apart import BEFORE
from .constants import Region
from .graph import LoweringError, inputs, tensor_of
from .states import StatePlan

# What the runtime reads: {"<number of a constant>": "<name of the buffer>"}.
_SPEC = "etwebgpu.states"

# For each delegate in the order of lowering, the buffers among its constants.
Constants = list[dict[int, str]]


def shared_names(programs: Mapping[str, ExportedProgram]) -> dict[str, dict[str, str]]:
    """For each method, names of its buffers that are the same for the same buffer, and only then.

    Buffers are one where their memory is, or where name, type, sizes and contents are, as in
    programs that come from different files.
    """
    names: dict[str, tuple[Region, Tensor]] = {}
    out: dict[str, dict[str, str]] = {}
    for method, program in programs.items():
        out[method] = {}
        for node, spec in inputs(program):
            tensor = tensor_of(program, spec)
            if not node.users:
                continue
            if spec.kind is InputKind.BUFFER and spec.target is not None and tensor is not None:
                taken = set(out[method].values())
                name = _same_elsewhere(tensor, names, taken) or spec.target
                while name in taken or (name in names and not _is_one(tensor, *names[name])):
                    name = f"{method}.{name}"
                names.setdefault(name, (Region.of(tensor), tensor))
                out[method][spec.target] = name
    return out


def users_of(names: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """The methods that use each of the names."""
    users: dict[str, set[str]] = {}
    for method, buffers in names.items():
        for name in buffers.values():
            users.setdefault(name, set()).add(method)
    return users


def _same_elsewhere(
    tensor: Tensor, names: Mapping[str, tuple[Region, Tensor]], taken: Collection[str]
) -> str | None:
    """The name that another method has for the memory of `tensor`."""
    region = Region.of(tensor)
    found = (n for n, (other, _) in names.items() if other == region and n not in taken)
    return next(found, None) if tensor.numel() else None


def _is_one(tensor: Tensor, region: Region, other: Tensor) -> bool:
    alike = tensor.dtype == other.dtype and tensor.shape == other.shape
    return Region.of(tensor) == region or (alike and torch.equal(tensor, other))


def rename_buffers(program: ExportedProgram, names: Mapping[str, str]) -> ExportedProgram:
    """Give a program's buffers other names. ExecuTorch, too, shares those of equal names."""
    changed = {old: new for old, new in names.items() if old != new}
    if not changed:
        return program
    # A buffer that nothing uses gives up its name to one that has it in another method.
    changed |= {new: f"unused.{new}" for new in changed.values() if new not in names}
    signature = program.graph_signature
    for spec in signature.input_specs:
        if spec.kind is InputKind.BUFFER and spec.target in changed:
            spec.target = changed[spec.target]
    for result in signature.output_specs:
        if result.kind is OutputKind.BUFFER_MUTATION and result.target in changed:
            result.target = changed[result.target]
    program._state_dict = {changed.get(k, k): v for k, v in program.state_dict.items()}
    program._constants = {changed.get(k, k): v for k, v in program.constants.items()}
    return program


@contextmanager
def noting_constants() -> Iterator[Constants]:
    """Note which of a delegate's constants is which buffer, as the exporter numbers them."""
    noted: Constants = []

    class Builder(VkGraphBuilder):  # type: ignore[misc]
        def maybe_add_constant_tensor(self, node: fx.Node) -> int:
            index: int = super().maybe_add_constant_tensor(node)
            name = self.program.graph_signature.inputs_to_buffers.get(node.name)
            if index >= 0 and name is not None:
                self.buffers[index] = name
            return index

        def build_graph(self) -> Any:
            self.buffers: dict[int, str] = {}
            graph = super().build_graph()
            _check_written_last(self, graph)
            noted.append(self.buffers)
            return graph

    original = preprocess.VkGraphBuilder
    preprocess.VkGraphBuilder = Builder
    try:
        yield noted
    finally:
        preprocess.VkGraphBuilder = original


def _check_written_last(builder: VkGraphBuilder, graph: Any) -> None:
    """Raise where passes of the exporter have moved a read behind a state's write."""
    for buffer in builder.buffer_mutation_inputs.values():
        value = builder.node_to_value_ids.get(buffer)
        writes = [i for i, call in enumerate(graph.chain) if call.args[-1] == value]
        later = graph.chain[writes[-1] + 1 :] if writes else []
        readers = [call.name for call in later if value in call.args]
        if readers:
            raise LoweringError(
                f"{readers[0]} would read the state '{buffer.name}' after it is overwritten; "
                "clone it in forward() before it is written"
            )


def name_states(
    edge: EdgeProgramManager, methods: Iterable[str], noted: Constants, plan: StatePlan
) -> None:
    """Write the names of shared states beside the delegates that have them.

    Args:
        methods: in the order of lowering.
    """
    delegates = [d for method in methods for d in _delegates(edge.exported_program(method))]
    for delegate, constants in zip(delegates, noted, strict=True):
        buffers = {i: name.removesuffix(BEFORE) for i, name in constants.items()}
        names = {str(i): name for i, name in buffers.items() if plan.is_shared(name)}
        if names:
            delegate.compile_specs.append(CompileSpec(_SPEC, json.dumps(names).encode()))


def _delegates(program: ExportedProgram) -> Iterator[Any]:
    for module in program.graph_module.children():
        if isinstance(module, LoweredBackendModule):
            yield module
