"""Operators with a number for an operand, which the partitioner only takes with a tensor there."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from .graph import append_constant, aten, is_tensor

_FORMS: dict[Any, Any] = {
    aten.add.Scalar: aten.add.Tensor,
    aten.sub.Scalar: aten.sub.Tensor,
    aten.mul.Scalar: aten.mul.Tensor,
    aten.div.Scalar: aten.div.Tensor,
}


def use_tensors_for_numbers(program: ExportedProgram) -> None:
    """Give such numbers as constants of no dimensions, which take part in types as numbers do."""
    for node in list(program.graph.nodes):
        form = _FORMS.get(node.target) if node.op == "call_function" else None
        if form is None or not isinstance(node.args[1], int | float) or not is_tensor(node):
            continue
        dtype = node.meta["val"].dtype
        # Bools take part as integers; float64 stays with ExecuTorch's kernels.
        if dtype not in (torch.float32, torch.float16, torch.int32, torch.int64):
            continue
        number = torch.tensor(node.args[1], dtype=dtype)
        name = f"number_{dtype}_{node.args[1]}".replace("torch.", "")
        name = "".join(c if c.isalnum() else "_m"[c == "-"] for c in name)
        constant = append_constant(program, name, number)
        node.target = form
        factor = {"alpha": node.args[2]} if len(node.args) > 2 else {}
        node.args, node.kwargs = (node.args[0], constant), {**node.kwargs, **factor}
