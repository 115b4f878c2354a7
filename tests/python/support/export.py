"""From a torch module to the delegate blob that the real partitioner makes of it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import torch
from executorch.backends.vulkan import serialization
from executorch.backends.vulkan.serialization.vulkan_graph_schema import (
    Null,
    ValueList,
    VkGraph,
    VkTensor,
)
from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
    VulkanDelegateHeader,
)
from executorch.exir._serialize._dataclass import _json_to_dataclass
from executorch.exir._serialize._flatbuffer import _flatc_decompile
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.schema import DelegateCall, KernelCall
from executorch_webgpu.lowering import partition, plan_memory, quiet_upstream

from . import quick_export  # noqa: F401
from .capi import Model
from .delegate import exported


@dataclass(frozen=True)
class ExportedDelegate:
    """One delegate of a program: its blob, its constants by key, and its decoded graph."""

    blob: bytes
    named: dict[str, bytes]
    graph: VkGraph
    host_operators: list[str]  # what the partitioner left to ExecuTorch's own kernels
    inputs: list[int]  # for each of the delegate's inputs, which of the program's it is
    outputs: list[int]  # for each of the program's outputs, which of the delegate's it is

    @property
    def operators(self) -> list[str]:
        """Names of the graph's calls, in order."""
        return [call.name for call in self.graph.chain]

    def load(self) -> LoadedDelegate:
        """Loaded through the C interface; needs a program that is one delegate call."""
        assert not self.host_operators, f"left to the host: {self.host_operators}"
        return LoadedDelegate(self, exported(self.blob, self.named, self.graph).load())

    def describe(self) -> str:
        """The graph's calls, one a line, with their arguments spelled out."""
        return "\n".join(
            f"{call.name}({', '.join(self._text(i) for i in call.args)})"
            for call in self.graph.chain
        )

    def _text(self, value_id: int) -> str:
        value = self.graph.values[value_id].value
        if isinstance(value, VkTensor):
            kind = "const" if value.constant_id >= 0 else f"%{value_id}"
            dims = "x".join(map(str, value.dims))
            return f"{kind}:{value.datatype.name.lower()}[{dims}]"
        if isinstance(value, ValueList):
            return "[" + ", ".join(self._text(i) for i in value.items) + "]"
        if isinstance(value, Null):
            return "None"
        return repr(next(iter(value.__dict__.values()))) + f":{type(value).__name__}"


class LoadedDelegate:
    """Runs a delegate with the program's inputs and outputs."""

    def __init__(self, delegate: ExportedDelegate, model: Model) -> None:
        self._delegate, self.model = delegate, model

    def run(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        outputs = self.model.run(*(inputs[i] for i in self._delegate.inputs))
        return [outputs[i] for i in self._delegate.outputs]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.close()


def export_delegate(
    module: torch.nn.Module,
    inputs: Sequence[Any],
    dynamic_shapes: Any = None,
    *,
    options: dict[str, Any] | None = None,
    dim_order: bool = False,
) -> ExportedDelegate:
    """Lower `module` with the WebGPU partitioner; it must become exactly one delegate.

    Args:
        inputs: example arguments, at their recorded (not necessarily largest) sizes.
        dynamic_shapes: as for torch.export.export.
        options: the partitioner's compile options.
        dim_order: keep executorch's dim_order operators for copies (its default).
    """
    with quiet_upstream(), torch.no_grad():
        program = torch.export.export(
            module.eval(), tuple(inputs), dynamic_shapes=dynamic_shapes, strict=False
        )
        edge = partition(program, options, dim_order=dim_order)
        return read_delegate(plan_memory(edge).buffer)


def read_delegate(pte: bytes) -> ExportedDelegate:
    """The only delegate of a serialized program, with every named constant of the program."""
    file = deserialize_pte_binary(pte)
    program = file.program
    plan = program.execution_plan[0]
    if len(plan.delegates) != 1:
        raise ValueError(f"the program has {len(plan.delegates)} delegates, expected 1")
    blob = bytes(program.backend_delegate_data[plan.delegates[0].processed.index].data)
    named: dict[str, bytes] = {}
    if file.named_data is not None:
        for key, entry in file.named_data.pte_data.items():
            named[key] = bytes(file.named_data.buffers[entry.buffer_index])
    calls = [i.instr_args for chain in plan.chains for i in chain.instructions]
    host = [plan.operators[c.op_index].name for c in calls if isinstance(c, KernelCall)]
    graph = decode_graph(blob)
    args = next(list(call.args) for call in calls if isinstance(call, DelegateCall))
    given, made = args[: len(graph.input_ids)], args[len(graph.input_ids) :]
    return ExportedDelegate(
        blob,
        named,
        graph,
        host,
        [plan.inputs.index(a) if a in plan.inputs else -1 for a in given],
        [made.index(o) if o in made else -1 for o in plan.outputs],
    )


def decode_graph(blob: bytes) -> VkGraph:
    """The flatbuffer inside a delegate blob as the wheel's dataclasses."""
    header = VulkanDelegateHeader.from_bytes(blob[: VulkanDelegateHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    with tempfile.TemporaryDirectory() as folder:
        schema = Path(folder, "schema.fbs")
        schema.write_bytes(Path(serialization.__path__[0], "schema.fbs").read_bytes())
        binary = Path(folder, "graph.bin")
        binary.write_bytes(blob[start : start + header.flatbuffer_size])
        _flatc_decompile(folder, str(schema), str(binary), ["--raw-binary"])
        text = Path(folder, "graph.json").read_text()
    # flatc writes infinities in a way that Python's json does not read.
    text = re.sub(r"(?<=: )(-?)inf\b", r"\1Infinity", text)
    graph: VkGraph = _json_to_dataclass(json.loads(re.sub(r"(?<=: )-?nan\b", "NaN", text)), VkGraph)
    return graph
