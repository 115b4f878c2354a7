"""Outputs that are other outputs, inputs, constants or states under another name."""

from __future__ import annotations

import pytest
import torch
from support.lowered import Stated, follows_eager

OUTPUTS = {
    "one value twice": lambda s, x: ((y := x * 2), y, y),
    "clones beside another": lambda s, x: ((y := x * 2), x + 1, y.clone(), y.clone()),
    "a full slice": lambda s, x: ((y := x * 2), y[:], y.narrow(0, 0, 2)),
    "an expand": lambda s, x: ((y := x * 2), y.expand(2, 3), y.expand(1, 2, 3)[0]),
    "views": lambda s, x: ((y := x * 2), y.view(2, 3), y.view(6), y.squeeze(), y.t().t()),
    "no change of type": lambda s, x: ((y := x * 2), y.float(), y.to(torch.float32), y.detach()),
    "no sum, no padding": lambda s, x: (
        (y := x * 2),
        y + 0,
        y * 1,
        torch.cat([y]),
        torch.nn.functional.pad(y, (0, 0)),
        torch.nn.functional.dropout(y, 0.5, False),
    ),
    "splits into one piece": lambda s, x: (
        (y := x * 2).split(3, 1)[0],
        y.split_with_sizes([2], 0)[0] + 1,
        x.chunk(1)[0],
        *y.split(1, 0),
    ),
    "chains of copies": lambda s, x: ((y := x * 2).clone().clone(), y.clone()[:].expand(2, 3), y),
    "an input": lambda s, x: (x, x * 2, x.clone(), x),
    "nothing but an input": lambda s, x: x,
    "a constant": lambda s, x: (s.c, x + s.c, s.c.clone(), s.c),
    "nothing but a constant": lambda s, x: s.c,
    "a state": lambda s, x: (s.b.add_(x), s.b, s.b * 2, s.b.clone()),
    "a state before": lambda s, x: (s.b.clone(), s.b.view(6).clone(), s.b.add_(x)),
    "integers": lambda s, x: ((y := x.to(torch.int32) * 2), y.clone(), y.long(), y.long().clone()),
    "flags": lambda s, x: ((y := x > 0), y.clone(), ~y, y),
    "f16": lambda s, x: ((y := x.half()), y.clone(), y * 2, y),
    "a number": lambda s, x: ((y := x.sum()), y.clone(), y, y.reshape(1)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_is_a_value_of_its_own(name):
    module = Stated(OUTPUTS[name], b=torch.ones(2, 3), c=torch.randn(2, 3))
    follows_eager(module, *[(torch.randn(2, 3),) for _ in range(2)])


def test_outputs_of_dynamic_sizes():
    def forward(s, x):
        y = x * 2
        return y, y.clone(), x, y.view(-1, 3), y[:], y.expand(x.shape[0], 3)

    steps = [(torch.randn(rows, 3),) for rows in (4, 9, 2)]
    rows = torch.export.Dim("rows", max=9)
    follows_eager(Stated(forward), *steps, dynamic_shapes={"inputs": ({0: rows},)})


def test_an_output_that_is_a_mutated_input():
    """ExecuTorch gives an input's new contents before all outputs; they must be right."""
    from support.lowered import graph_of, lowered

    program = lowered(graph_of(Stated(lambda s, x: (x.add_(1), x * 2)), (torch.zeros(2, 3),)))
    got = program(torch.ones(2, 3))
    assert [o.flatten()[0].item() for o in got[-2:]] == [2, 4]
