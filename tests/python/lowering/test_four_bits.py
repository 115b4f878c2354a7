"""Layers of 4-bit weights with any number of outputs, in one delegate."""

from __future__ import annotations

import pytest
import torch
import torchao  # noqa: F401  registers torchao::*
from executorch_webgpu.lowering import partition, quiet_upstream
from support.lowered import Stated, follows_eager, graph_of
from torch.nn import functional

DEPTH, GROUP = 64, 32


def layer(outputs: int, bias: bool) -> Stated:
    def forward(s, x):
        weight = torch.ops.torchao.dequantize_affine(
            s.values, (1, GROUP), s.scales, s.zeros, torch.int8, -8, 7
        )
        return functional.linear(x, weight, s.bias if bias else None) * 2

    return Stated(
        forward,
        values=torch.randint(-8, 8, (outputs, DEPTH), dtype=torch.int8),
        scales=torch.rand(outputs, DEPTH // GROUP) * 0.1 + 0.01,
        zeros=torch.zeros(outputs, DEPTH // GROUP, dtype=torch.int8),
        bias=torch.randn(outputs),
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [1, 3, 65, 66, 68])
def test_outputs_of_any_number(outputs: int, bias: bool) -> None:
    x = torch.randn(3, DEPTH)
    with quiet_upstream():
        edge = partition(graph_of(layer(outputs, bias), (x,)))
    calls = [str(n.target) for n in edge.exported_program().graph.nodes if n.op == "call_function"]
    assert calls[0] == "executorch_call_delegate" and all("getitem" in call for call in calls[1:])
    follows_eager(layer(outputs, bias), (x,))


def test_rows_that_grow_and_shrink() -> None:
    rows = torch.export.Dim("rows", min=2, max=16)
    steps = [(torch.randn(2, count, DEPTH),) for count in (4, 16, 2, 7)]
    follows_eager(layer(67, True), *steps, dynamic_shapes=(({1: rows},),))
