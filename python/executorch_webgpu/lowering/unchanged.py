"""What gives its operand as it is, where the stock partitioner fails with it or leaves it outside.

So splits into one piece, and expansions to the sizes that a tensor has, which matrix products and
transformers' rotary embeddings are full of.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from torch.export import ExportedProgram

from .graph import operator_name, same_sizes, value_of

_SPLITS = {"split_copy", "split_with_sizes_copy", "unsafe_split_with_sizes"}


def drop_what_changes_nothing(program: ExportedProgram) -> None:
    for node in list(program.graph.nodes):
        name = operator_name(node)
        if name in _SPLITS and len(value_of(node)) == 1:
            for piece in list(node.users):
                _drop(piece, node.args[0])
            program.graph.erase_node(node)
        elif name == "expand_copy" and _has_sizes_of(node, node.args[0]):
            _drop(node, node.args[0])


def _has_sizes_of(a: Any, b: Any) -> bool:
    return same_sizes(value_of(a).shape, value_of(b).shape)


def _drop(node: fx.Node, operand: Any) -> None:
    node.replace_all_uses_with(operand)
    node.graph.erase_node(node)
