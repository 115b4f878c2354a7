"""Rotary embeddings that look like those for which upstream has one operator, and are others.

Upstream finds its pattern by the operators alone: that the table has a row for each token in front
of its heads is not asked, and where heads come first, as in transformers' Phi 3, it would be
another computation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from .graph import aten, operator_name, value_of

# From a table's row to its embedding.
_PATTERN = ("unsqueeze_copy", "mul", "add", "cat")


def keep_other_embeddings(program: ExportedProgram) -> None:
    """Give tables that are not [rows, width] their dimension by what the pattern lacks."""
    for node in list(program.graph.nodes):
        table: Any = node.args[0] if _begins(node, _PATTERN) else None
        if table is None or value_of(table).dim() == 2:
            continue
        with program.graph.inserting_before(node):
            sizes = [_size(table, dim) for dim in range(value_of(table).dim())]
            sizes.insert(node.args[1] % value_of(node).dim(), 1)
            view = program.graph.call_function(aten.view_copy.default, (table, sizes))
        view.meta["val"] = value_of(node)
        node.replace_all_uses_with(view)
        program.graph.erase_node(node)


def _begins(node: fx.Node, names: tuple[str, ...]) -> bool:
    """Whether operators of these names stand behind one another, this one first."""
    if operator_name(node) != names[0]:
        return False
    return len(names) == 1 or any(_begins(user, names[1:]) for user in node.users)


def _size(node: fx.Node, dim: int) -> Any:
    size = value_of(node).shape[dim]
    if isinstance(size, int):
        return size
    symbol = node.graph.call_function(torch.ops.aten.sym_size.int, (node, dim))
    symbol.meta["val"] = size
    return symbol
