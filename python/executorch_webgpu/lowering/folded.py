"""Values that follow from a program's constants alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from .graph import inputs, operator_name, tensor_of

_MOST = 1 << 24  # elements of what is computed here
_FOLDED = {"alias", "clone", "contiguous", "detach", "detach_", "expand", "lift_fresh_copy"}
_FOLDED |= {"reshape", "select", "slice", "squeeze", "to", "_to_copy", "unsqueeze", "view"}
_FOLDED |= {"arange", "full", "ones", "zeros", "tril", "triu", "logical_not", "bitwise_not"}
_FOLDED |= {"add", "eq", "ne", "ge", "gt", "le", "lt", "where", "masked_fill"}


class Folded:
    """What is computed of constants, by operators that masks are of.

    Args:
        written: buffers that a method of the program writes.
    """

    def __init__(self, program: ExportedProgram, written: Collection[str]) -> None:
        self._values: dict[fx.Node, Tensor | None] = {
            node: tensor_of(program, spec)
            for node, spec in inputs(program)
            if spec.target not in written
        }
        for node in program.graph.nodes:
            if writes(node) and operator_name(node) not in _FOLDED:
                for changed in _written_by(node):
                    self._forget(changed)

    def of(self, node: Any) -> Tensor | None:
        """A node's value; None where it is not known."""
        if not isinstance(node, fx.Node):
            return None
        if node not in self._values:
            self._values[node] = None
            if operator_name(node) in _FOLDED and _is_small(node):
                args = fx.node.map_arg((node.args, dict(node.kwargs)), self.of)
                parts = [self.of(n) for n in node.all_input_nodes]
                if all(part is not None for part in parts):
                    self._values[node] = node.target(*args[0], **args[1])  # type: ignore[operator]
        return self._values[node]

    def _forget(self, node: fx.Node) -> None:
        """What a call writes does not follow from constants, nor what it is a view of."""
        for viewed in _views(node):
            self._values[viewed] = None


def writes(node: fx.Node) -> bool:
    """True for a call that writes what it is given."""
    return bool(getattr(getattr(node.target, "_schema", None), "is_mutable", False))


def _written_by(node: fx.Node) -> list[fx.Node]:
    """What a call writes of what it is given, which need not come first."""
    found: list[fx.Node] = []
    target: Any = node.target
    for index, argument in enumerate(target._schema.arguments if writes(node) else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = node.args[index : index + 1] or node.kwargs.get(argument.name)
            fx.node.map_arg(given, found.append)
    return found


def _views(node: fx.Node) -> Iterator[fx.Node]:
    """A node and what it may be a view of."""
    yield node
    while node.all_input_nodes:
        node = node.all_input_nodes[0]
        yield node


def written_buffers(program: ExportedProgram) -> set[str]:
    """The buffers that a method writes, whether its graph says so in its signature or in place."""
    found = set(program.graph_signature.buffers_to_mutate.values())
    buffers = {n: s.target for n, s in inputs(program) if s.kind is InputKind.BUFFER}
    for node in program.graph.nodes:
        found |= {
            buffers.get(viewed) for written in _written_by(node) for viewed in _views(written)
        }
    return {name for name in found if name is not None}


def _is_small(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not all(isinstance(n, int) for n in value.shape):
        return False
    return value.numel() <= _MOST
