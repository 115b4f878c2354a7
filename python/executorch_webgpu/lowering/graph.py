"""What the rewrites share: values of placeholders, copies, nodes that stay outside delegates."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from executorch.backends.transforms.utils import create_constant_placeholder
from executorch.exir.dialects._ops import ops as edge_ops
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx.experimental.symbolic_shapes import statically_known_true

from ..errors import WebGPUError

aten: Any = edge_ops.edge.aten
auto_functionalized_v2 = torch.ops.higher_order.auto_functionalized_v2

# The name of a module that the partitioner is told to leave alone; nodes are put into it.
KEPT_OUT = "executorch_webgpu.lowering.KeptOut"

# Operators that may give back their operand: the exporter or ExecuTorch drops them, or makes them
# views of its memory.
_COPIES = {"clone", "alias_copy", "copy", "lift_fresh_copy", "detach_copy", "_to_copy"}
_COPIES |= {"_to_dim_order_copy", "_clone_dim_order", "expand_copy", "slice_copy", "permute_copy"}
_VIEWS = {"view_copy", "squeeze_copy", "unsqueeze_copy", "split_copy", "select_copy"}


class LoweringError(WebGPUError):
    """The program cannot be lowered so that it computes what eager PyTorch does."""


def inputs(program: ExportedProgram) -> Iterator[tuple[fx.Node, InputSpec]]:
    """The placeholders of a program, each with its entry in the signature."""
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    yield from zip(placeholders, program.graph_signature.input_specs, strict=True)


def tensor_of(program: ExportedProgram, spec: InputSpec) -> Tensor | None:
    """The tensor that an input stands for; None for the user's inputs."""
    if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
        return None
    assert spec.target is not None
    found = program.state_dict.get(spec.target, program.constants.get(spec.target))
    return found if isinstance(found, Tensor) else None


def operator_name(node: fx.Node) -> str:
    """The operator a node calls, as in "add" for ``aten::add.Tensor``; empty for anything else."""
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    return schema.name.rpartition("::")[2] if schema is not None else ""


def keep_out(node: fx.Node) -> None:
    """Leave a node to ExecuTorch's own kernels."""
    modules = dict(node.meta.get("nn_module_stack") or {})
    node.meta["nn_module_stack"] = {**modules, KEPT_OUT: (KEPT_OUT, KEPT_OUT)}


def append(program: ExportedProgram, target: Any, args: tuple[Any, ...], value: Tensor) -> fx.Node:
    """A call at the end of the graph, whose result looks like `value`."""
    with program.graph.inserting_before(program.graph.output_node()):
        node: fx.Node = program.graph.call_function(target, args)
    node.meta["val"] = value
    return node


def call(graph: fx.Graph, target: Any, *args: Any) -> fx.Node:
    """A call where the graph inserts, whose result looks as the operator says."""
    node: fx.Node = graph.call_function(target, args)
    values = fx.node.map_arg(args, lambda n: n.meta["val"])
    mode = next(
        n.meta["val"].fake_mode for n in graph.nodes if isinstance(n.meta.get("val"), FakeTensor)
    )
    with mode:
        node.meta["val"] = target(*values)
    return node


def append_constant(
    program: ExportedProgram, name: str, value: Tensor, *, is_weight: bool = False
) -> fx.Node:
    """A constant among the program's own; the one of that name where it is there already.

    A weight lies in the state, where the exporter's passes look for what they pack.
    """
    graph = program.graph
    with graph.inserting_before(next(iter(graph.nodes))):
        node: fx.Node = create_constant_placeholder(
            program, graph, name, InputKind.BUFFER, value, persistent_buffer=is_weight
        )
    return node


def append_copy(program: ExportedProgram, value: fx.Node) -> fx.Node:
    """A copy at the end of the graph, as an operator that no pass takes for superfluous."""
    dims = list(range(value.meta["val"].dim()))
    return append(program, aten.permute_copy.default, (value, dims), value.meta["val"].clone())


def origin(node: fx.Node, *, through_views: bool = False) -> fx.Node:
    """The value of which a node may be but another name."""
    while True:
        name = operator_name(node)
        operand = node.args[1 if name == "copy" else 0] if node.args else None
        if not isinstance(operand, fx.Node) or not is_tensor(operand) or not is_tensor(node):
            return node
        before, after = operand.meta["val"], node.meta["val"]
        unchanged = (
            name in _COPIES
            and before.dtype == after.dtype
            and same_sizes(before.shape, after.shape)
        )
        if not unchanged and not (through_views and name in _VIEWS):
            return node
        node = operand


def is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def in_place_call(node: object) -> fx.Node | None:
    """The call of a custom operator that writes a tensor in place, whose new contents `node` is."""
    if not isinstance(node, fx.Node) or node.target is not operator.getitem:
        return None
    call = node.args[0]
    if isinstance(call, fx.Node) and call.target is auto_functionalized_v2:
        return call
    return None


def outputs(program: ExportedProgram) -> list[Any]:
    """The program's outputs, those that are new contents of states first."""
    return list(program.graph.output_node().args[0])


def replace_output(program: ExportedProgram, index: int, node: fx.Node) -> None:
    """Make `node` the program's output number `index`, states counted."""
    values = outputs(program)
    values[index] = node
    program.graph.output_node().args = (tuple(values),)


def name_outputs(program: ExportedProgram) -> None:
    """Write the names of the graph's outputs into the signature."""
    for value, spec in zip(outputs(program), program.graph_signature.output_specs, strict=True):
        if isinstance(value, fx.Node):
            spec.arg.name = value.name


def value_of(node: Any) -> Any:
    """What a node looks like: a tensor without elements, or a number."""
    return node.meta["val"]


def same_sizes(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(
        statically_known_true(m == n) for m, n in zip(a, b, strict=True)
    )
