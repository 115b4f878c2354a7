"""Splits into one piece, with which the stock partitioner fails."""

from __future__ import annotations

from torch import fx
from torch.export import ExportedProgram

from .graph import operator_name

_SPLITS = {"split_copy", "split_with_sizes_copy", "unsafe_split_with_sizes"}


def drop_splits_into_one(program: ExportedProgram) -> None:
    """The one piece is the operand."""
    for node in list(program.graph.nodes):
        if operator_name(node) not in _SPLITS or len(node.meta["val"]) != 1:
            continue
        operand = node.args[0]
        assert isinstance(operand, fx.Node)
        for piece in list(node.users):
            piece.replace_all_uses_with(operand)
            program.graph.erase_node(piece)
        program.graph.erase_node(node)
