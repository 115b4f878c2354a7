"""The stock partitioner, with states and numbers where they keep their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from executorch.backends.vulkan.op_registry import get_op_features
from executorch.backends.vulkan.partitioner.vulkan_partitioner import parse_compile_options
from executorch.backends.vulkan.vulkan_preprocess import VulkanBackend
from executorch.backends.webgpu.partitioner import WebGPUPartitioner
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from torch import fx
from torch.export import ExportedProgram

from ..errors import listed
from .apart import FIRST, delegate_apart
from .graph import KEPT_OUT, LoweringError, aten, is_tensor
from .states import State, StatePlan, delegate_of, states_of


class StatePartitioner(Partitioner):  # type: ignore[misc]
    """Tags what the WebGPU partitioner takes, and states where a delegate may keep them.

    Whether a delegate is written with `alias_buffer_mutations` follows from its states.
    """

    def __init__(
        self,
        method: str,
        options: Mapping[str, Any],
        plan: StatePlan,
        conflicts: Mapping[str, str],
        portable: bool,
    ) -> None:
        super().__init__()
        self.method, self.plan, self.conflicts, self.portable = method, plan, conflicts, portable
        self.options = dict(options)
        self.stock = WebGPUPartitioner(self.options, nn_module_blocklist=[KEPT_OUT])

    def ops_to_not_decompose(self, program: ExportedProgram) -> Any:
        # Without a condition, for the stock one always holds, and costs another decomposition.
        kept, _ = self.stock.ops_to_not_decompose(program)
        return kept, None

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        graph = exported_program.graph
        with nullcontext() if self.portable else _taking_batches_of_images():
            result = self.stock.partition(exported_program)
        tags = [*result.partition_tags, *_tag_apart(graph)]
        states = states_of(exported_program, self.plan)
        for state in states:
            self._check_memory(state)
        homes = self._homes(states, graph)
        for state in states:
            self._place(state, homes.get(state.name))
        custom = {homes.get(state.name) for state in states if state.in_place}
        result.partition_tags = {
            tag: DelegationSpec(VulkanBackend.__name__, self._specs(alias=tag not in custom))
            for tag in tags
            if _has_result(graph, tag)
        }
        return result

    def _specs(self, alias: bool) -> list[CompileSpec]:
        return parse_compile_options({**self.options, "alias_buffer_mutations": alias})  # type: ignore[no-any-return]

    def _place(self, state: State, home: str | None) -> None:
        meta = state.buffer.meta
        # Otherwise ExecuTorch would leave what it holds in the beginning to chance.
        meta["et_init_buffer"] = True
        meta.pop("delegation_tag", None)
        if home is not None:
            meta["delegation_tag"] = home
        elif state.in_place and state.name not in self.plan.outside:
            # It must be written as other states are.
            self.plan.put_outside(state.name)
        elif self.plan.is_shared(state.name):
            if (self.method, state.name) in self.plan.apart:
                self._refuse(state)
            self.plan.put_apart(self.method, state.name)

    def _homes(self, states: Sequence[State], graph: fx.Graph) -> dict[str, str]:
        """For each state that a delegate keeps, the delegate's tag."""
        tags = {state: delegate_of(state, self.plan) for state in states}
        custom = {tags[state] for state in states if state.in_place}
        homes: dict[str, str] = {}
        for state, tag in tags.items():
            # The exporter writes custom operators' states in one way and all others in another.
            mixed = tag in custom and state.new is not None and not state.in_place
            if tag is not None and not mixed:
                homes[state.name] = tag
        for tag in set(homes.values()):
            # A delegate has an output, and the new contents it keeps are none.
            kept = {state.new for state in states if homes.get(state.name) == tag}
            if not _outputs(graph, tag) - kept:
                homes = {name: home for name, home in homes.items() if home != tag}
        return homes

    def _refuse(self, state: State) -> None:
        raise LoweringError(
            f"the methods {listed(self.plan.users[state.name])} share the buffer '{state.name}' "
            f"({state.buffer.meta['val'].dtype}), which no delegate can keep in '{self.method}', "
            "and ExecuTorch's own kernels do not share buffers between methods; use a type that "
            "the partitioner takes, and give the method an output that is a tensor"
        )

    def _check_memory(self, state: State) -> None:
        other = self.conflicts.get(state.name)
        if state.new is not None and other is not None:
            raise LoweringError(
                f"the buffer '{state.name}' is written, and {other} lies in the same memory, but "
                "ExecuTorch keeps each tensor by itself: register one buffer, and take views of "
                "it where they are used"
            )


@contextmanager
def _taking_batches_of_images() -> Iterator[None]:
    """The partitioner leaves convolutions of several images out, for Vulkan's runtime alone."""
    features = get_op_features(aten.convolution.default)
    stock = features.are_node_inputs_supported_fn

    def takes(node: fx.Node) -> bool:
        x: Any = node.args[0]
        return bool(x.meta["val"].dim() == 4 or stock(node))

    features.are_node_inputs_supported_fn = takes
    try:
        yield
    finally:
        features.are_node_inputs_supported_fn = stock


def _tag(node: fx.Node) -> str | None:
    tag: str | None = node.meta.get("delegation_tag")
    return tag


def _outputs(graph: fx.Graph, tag: str) -> set[fx.Node]:
    """The tensors that a delegate gives out."""
    inside = {node for node in graph.nodes if _tag(node) == tag}
    return {node for node in inside if is_tensor(node) and not inside.issuperset(node.users)}


def _has_result(graph: fx.Graph, tag: str) -> bool:
    """False for a delegate without a tensor for a result, which the exporter cannot write.

    What it would do is left to ExecuTorch.
    """
    if _outputs(graph, tag):
        return True
    for node in graph.nodes:
        if _tag(node) == tag:
            del node.meta["delegation_tag"]
    return False


def _tag_apart(graph: fx.Graph) -> list[str]:
    """Tag the delegates that only read states or only write them."""
    tags: dict[str, None] = {}
    for node in graph.nodes:
        tag = delegate_apart(node)
        if tag is None:
            continue
        tags[tag] = None
        node.meta["delegation_tag"] = tag
        if tag == FIRST:
            node.args[0].meta["delegation_tag"] = tag
    return list(tags)
