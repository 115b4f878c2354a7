"""Which element of a tensor a number is: several ways of taking it give the same one."""

from __future__ import annotations

from typing import Any

from torch import fx

from .graph import operator_name, value_of

_READS = {"item", "_local_scalar_dense"}
_SAME = {"alias", "detach"}


def is_read(number: fx.Node) -> bool:
    """True for a number that is read from a tensor of one element."""
    return operator_name(number) in _READS


def element_of(number: fx.Node) -> tuple[fx.Node, tuple[Any, ...]]:
    """The tensor that a number is read from, and its place there: behind selections and the like.

    Args:
        number: what reads it, or the tensor of one element that it is read from.
    """
    node: Any = number.args[0] if is_read(number) else number
    index: tuple[Any, ...] = (0,) * value_of(node).dim()
    while True:
        name = operator_name(node).removesuffix("_copy")
        if name == "select":
            operand, dim, at = node.args
            dim, size = dim % value_of(operand).dim(), value_of(operand).shape[dim]
            at = at % size if isinstance(at, int) and isinstance(size, int) else at
            index = (*index[:dim], at, *index[dim:])
        elif name == "unsqueeze":
            operand, dim = node.args
            dim %= value_of(node).dim()
            index = (*index[:dim], *index[dim + 1 :])
        elif name in _SAME:
            operand = node.args[0]
        else:
            return node, index
        node = operand
