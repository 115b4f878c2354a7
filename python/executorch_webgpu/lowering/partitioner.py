"""The stock partitioner, with states and numbers where they keep their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from executorch.backends.webgpu.partitioner import WebGPUPartitioner
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from torch import fx
from torch.export import ExportedProgram

from ..errors import listed
from .graph import KEPT_OUT, LoweringError, is_tensor
from .states import State, StatePlan, delegate_of, states_of

_ALIAS = "alias_buffer_mutations"


class StatePartitioner(Partitioner):  # type: ignore[misc]
    """Tags what the WebGPU partitioner takes, and states where a delegate may keep them.

    Whether a delegate is written with `alias_buffer_mutations` follows from its states.
    """

    def __init__(
        self, method: str, options: Mapping[str, Any], plan: StatePlan, conflicts: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.method, self.plan, self.conflicts = method, plan, conflicts
        self.stock = WebGPUPartitioner(dict(options), nn_module_blocklist=[KEPT_OUT])

    def ops_to_not_decompose(self, program: ExportedProgram) -> Any:
        return self.stock.ops_to_not_decompose(program)

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        result = self.stock.partition(exported_program)
        states = states_of(exported_program, self.plan)
        for state in states:
            self._check_memory(state)
            # Otherwise ExecuTorch would leave what it holds in the beginning to chance.
            state.buffer.meta["et_init_buffer"] = True
        homes = self._homes(states, exported_program.graph)
        for state in states:
            state.buffer.meta.pop("delegation_tag", None)
            if state.name in homes:
                state.buffer.meta["delegation_tag"] = homes[state.name]
            elif self.plan.is_shared(state.name):
                self._refuse(state)
            elif state.in_place:
                # It must be written as other states are.
                self.plan.put_outside(state.name)
        custom = {homes.get(state.name) for state in states if state.in_place}
        result.partition_tags = {
            tag: _spec(spec, alias=tag not in custom)
            for tag, spec in result.partition_tags.items()
            if _outputs(exported_program.graph, tag) or _untag(exported_program.graph, tag)
        }
        return result

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
        methods = sorted(self.plan.users[state.name])
        left = [
            n for n in (*state.buffer.users, state.new) if n and not _tag(n) and n.op != "output"
        ]
        because = f", such as {left[0].target}" if left else ""
        raise LoweringError(
            f"the methods {listed(methods)} share the buffer '{state.name}', but in "
            f"'{self.method}' not all that reads and writes it can be in one delegate{because}: "
            "ExecuTorch's own kernels do not share buffers between methods; read and write it "
            "with operators that the partitioner takes, without others in between"
        )

    def _check_memory(self, state: State) -> None:
        other = self.conflicts.get(state.name)
        if state.new is not None and other is not None:
            raise LoweringError(
                f"the buffer '{state.name}' is written, and {other} lies in the same memory, but "
                "ExecuTorch keeps each tensor by itself: register one buffer, and take views of "
                "it where they are used"
            )


def _tag(node: fx.Node) -> str | None:
    tag: str | None = node.meta.get("delegation_tag")
    return tag


def _outputs(graph: fx.Graph, tag: str) -> set[fx.Node]:
    """The tensors that a delegate gives out."""
    inside = {node for node in graph.nodes if _tag(node) == tag}
    return {node for node in inside if is_tensor(node) and not inside.issuperset(node.users)}


def _untag(graph: fx.Graph, tag: str) -> None:
    """Leave to ExecuTorch what has no tensor for a result, which the exporter cannot write."""
    for node in graph.nodes:
        if _tag(node) == tag:
            del node.meta["delegation_tag"]


def _spec(stock: DelegationSpec, alias: bool) -> DelegationSpec:
    others = [spec for spec in stock.compile_specs if spec.key != _ALIAS]
    return DelegationSpec(stock.backend_id, [*others, CompileSpec(_ALIAS, bytes([alias]))])
