"""Views by strides, which the partitioner does not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true

from .graph import aten


def view_what_lies_so(program: ExportedProgram) -> None:
    """Where a tensor's elements lie as they are asked for, as behind a mean over an image."""
    for node in program.graph.nodes:
        if node.target is not aten.as_strided_copy.default or len(node.args) != 3:
            continue
        operand, sizes, strides = node.args
        value = operand.meta["val"]
        if _layout(value.shape, value.stride()) == _layout(sizes, strides):
            node.target, node.args = aten.view_copy.default, (operand, sizes)


def _layout(sizes: Sequence[Any], strides: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Dimensions of one element lie anyhow."""
    pairs = zip(sizes, strides, strict=True)
    return [(n, stride) for n, stride in pairs if not statically_known_true(n == 1)]
