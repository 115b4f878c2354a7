"""What gives its operand as it is, where the stock partitioner fails with it or leaves it outside.

So splits into one piece, expansions to the sizes that a tensor has, which matrix products and
transformers' rotary embeddings are full of, and copies over a tensor, of which nothing is read.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from torch.export import ExportedProgram

from .graph import operator_name, same_sizes, value_of

_SPLITS = {"split_copy", "split_with_sizes_copy", "unsafe_split_with_sizes"}
# By operator, which of its operands it gives where types and sizes are the same.
_GIVEN = {"expand_copy": 0, "copy": 1}


def drop_what_changes_nothing(program: ExportedProgram) -> None:
    for node in list(program.graph.nodes):
        name = operator_name(node)
        if name in _SPLITS and len(value_of(node)) == 1:
            for piece in list(node.users):
                _drop(piece, node.args[0])
        elif name in _GIVEN and _is_like(node, node.args[_GIVEN[name]]):
            _drop(node, node.args[_GIVEN[name]])


def _is_like(a: Any, b: Any) -> bool:
    a, b = value_of(a), value_of(b)
    return a.dtype == b.dtype and same_sizes(a.shape, b.shape)


def _drop(node: fx.Node, operand: Any) -> None:
    operands = node.all_input_nodes
    node.replace_all_uses_with(operand)
    node.graph.erase_node(node)
    for unread in operands:
        _drop_unread(unread)


def _drop_unread(node: fx.Node) -> None:
    """Delegates would have inputs for what nothing reads."""
    if node.op == "call_function" and not node.users:
        operands = node.all_input_nodes
        node.graph.erase_node(node)
        for unread in operands:
            _drop_unread(unread)
