"""Numbers that the host must know, computed from inputs: positions, sizes, starts of slices."""

from __future__ import annotations

import executorch_webgpu
import pytest
import torch
from support.stock import program
from torch import nn

TABLE = torch.arange(160.0).reshape(40, 4)


def module(start) -> nn.Module:
    """Two rows of a table from `start(position)` on, doubled."""

    class Rows(nn.Module):
        def forward(self, table, position):
            n = start(position)
            torch._check(n >= 0)
            torch._check(n <= 30)
            return table.narrow(0, n, 2) * 2

    return Rows()


STARTS = {
    "plus one": lambda p: (p + 1)[0].item(),
    "scaled": lambda p: (p * 3 - 2)[0].item(),
    "minus": lambda p: (20 - p)[0].item(),
    "halved": lambda p: torch.div(p, 2, rounding_mode="floor")[0].item(),
    "clamped": lambda p: p.clamp(2, 5)[0].item(),
    "the smaller": lambda p: torch.minimum(p, p * 2 - 3).abs()[0].item(),
    "chosen": lambda p: torch.where(p > 3, p, p + 10)[0].item(),
    "the second": lambda p: torch.cat([p + 5, p * 2])[1].item(),
    "behind a slice": lambda p: (torch.cat([p, p + 1, p + 2])[1:] + 1)[1].item(),
    "behind a view": lambda p: ((p + 1).view(1, 1) * 2)[0, 0].item(),
    "a multiple added": lambda p: torch.add(p, p + 1, alpha=2)[0].item(),
    "negated twice": lambda p: (-(-p - 4))[0].item(),
    "expanded": lambda p: ((p + 2).expand(3) + 1)[2].item(),
}


@pytest.mark.parametrize("name", STARTS)
def test_starts(name):
    model = module(STARTS[name])
    run = program(model, TABLE, torch.tensor([4]))
    for position in (4, 5, 2, 9, 9, 3):
        inputs = (TABLE, torch.tensor([position]))
        torch.testing.assert_close(run(*inputs), [model(*inputs)], rtol=0, atol=0)


def test_a_number_that_the_device_needs_too():
    class Both(nn.Module):
        def forward(self, table, position):
            later = position + 1
            n = later[0].item()
            torch._check(n >= 0)
            torch._check(n <= 30)
            return table.narrow(0, n, 2) * 2, later * 3

    model = Both()
    run = program(model, TABLE, torch.tensor([4]))
    for position in (4, 7, 0):
        inputs = (TABLE, torch.tensor([position]))
        torch.testing.assert_close(run(*inputs), list(model(*inputs)), rtol=0, atol=0)


def test_what_only_the_device_computes_is_refused():
    model = module(lambda p: (p.float() * 1.5).long()[0].item())
    with pytest.raises(RuntimeError):
        program(model, TABLE, torch.tensor([4]))(TABLE, torch.tensor([4]))
    error = executorch_webgpu.last_error()
    assert "is computed on the device" in error
    assert "as an input" in error


def test_a_number_out_of_range_is_refused_and_the_next_call_works():
    model = module(STARTS["plus one"])
    run = program(model, TABLE, torch.tensor([4]))
    with pytest.raises(RuntimeError):
        run(TABLE, torch.tensor([200]))
    inputs = (TABLE, torch.tensor([3]))
    torch.testing.assert_close(run(*inputs), [model(*inputs)], rtol=0, atol=0)
