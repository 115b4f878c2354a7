"""Embeddings of 8 bits, which the partitioner leaves to ExecuTorch's own kernels.

They become lookups in a table that is dequantized from constants, which in a delegate stays the
bytes that it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from .folded import Folded
from .graph import append_constant, call, operator_name, value_of


def look_up_in_bytes(program: ExportedProgram, folded: Folded) -> None:
    """Rewrite embeddings of signed bytes without zero points."""
    for node in list(program.graph.nodes):
        if operator_name(node) == "embedding_byte" and _is_of_constants(node, folded):
            _rewrite(program, node, folded)


def _is_of_constants(node: fx.Node, folded: Folded) -> bool:
    weight, scales = (folded.of(arg) for arg in node.args[:2])
    has_zero_points = node.args[2] is not None
    if weight is None or scales is None or has_zero_points:
        return False
    are_floats = scales.dtype == value_of(node).dtype == torch.float32
    return are_floats and weight.dtype == torch.int8 and weight.dim() == 2


def _rewrite(program: ExportedProgram, node: fx.Node, folded: Folded) -> None:
    args: Any = node.args
    weight, scales, _, least, most, indices = args
    by_group = folded.of(scales)
    assert by_group is not None
    if by_group.dim() == 1:
        by_group = by_group.reshape(-1, 1)
        scales = append_constant(program, f"{scales.name}_by_row", by_group)
    block = [1, value_of(weight).shape[1] // by_group.shape[1]]
    with program.graph.inserting_before(node):
        table = call(
            program.graph, torch.ops.torchao.dequantize_affine.default,
            weight, block, scales, None, torch.int8, least, most,
        )  # fmt: skip
        found = call(program.graph, torch.ops.aten.embedding.default, table, indices)
    node.replace_all_uses_with(found)
    program.graph.erase_node(node)
