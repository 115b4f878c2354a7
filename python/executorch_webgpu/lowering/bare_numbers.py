"""Numbers that a quantizer has made buffers of, as PT2E does of a norm's epsilon.

The exporter asks such a tensor for its number where it fuses a norm, and has only its size there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from .folded import Folded

_ADD = torch.ops.aten.add.Tensor


def use_bare_numbers(program: ExportedProgram, folded: Folded) -> None:
    """Add the number where a constant of no dimensions is added to a tensor of its type."""
    for node in program.graph.nodes:
        if node.target is not _ADD or node.kwargs:
            continue
        for x, constant in (node.args, node.args[::-1]):
            number = folded.of(constant)
            if number is not None and number.dim() == 0 and _takes(x, number):
                node.args = (x, number.item())
                break


def _takes(x: Any, number: Tensor) -> bool:
    """Whether the number's type says nothing that the tensor's does not."""
    value = x.meta.get("val") if isinstance(x, fx.Node) else None
    if not isinstance(value, Tensor) or value.dim() == 0:
        return False
    return number.dtype.is_floating_point and value.dtype == number.dtype
