"""Numbers as operands, in one delegate."""

from __future__ import annotations

import pytest
import torch
from support.lowered import Stated, compare, graph_of, lowered

aten = torch.ops.aten
CASES = {
    "product": lambda s, x: aten.mul.Scalar(x, 0.3),
    "sum": lambda s, x: aten.add.Scalar(aten.add.Scalar(x, 0.3), -2, 3),
    "difference": lambda s, x: aten.sub.Scalar(x, 7),
    "quotient": lambda s, x: aten.div.Scalar(x, -1.5),
    "equal numbers": lambda s, x: aten.mul.Scalar(aten.div.Scalar(x, 0.3), 0.3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int32])
@pytest.mark.parametrize("name", CASES)
def test_numbers(name, dtype):
    x = torch.arange(-4, 5).to(dtype)
    program = lowered(graph_of(Stated(CASES[name]), (x,)))
    compare(program(x), CASES[name](None, x), name)
