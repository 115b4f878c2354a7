"""Numbers past 32 bits, which the delegate's format does not hold."""

from __future__ import annotations

import pytest
import torch
from support.lowered import Stated, follows_eager

STEPS = [(torch.tensor([1, 2, 3]),), (torch.tensor([-5, 2**33, 7]),)]
WIDE = torch.tensor([2**40, 1, -(2**35)])
LARGE = torch.tensor([2_000_000_000, -2_000_000_000, 5])

INTEGERS = {
    "product": lambda s, x: x * 3_000_000_000,
    "sum": lambda s, x: x + 2**40 + s.wide,
    "constant alone": lambda s, x: (s.wide * 2 + x, s.wide.sum()),
    "constant in two places": lambda s, x: (s.wide + x, x - s.wide, s.wide[1:] * 2),
    "full": lambda s, x: torch.full((3,), 3_000_000_000) + x,
    "full of a float": lambda s, x: torch.full((3,), 3e9, dtype=torch.int64) + x,
    "full_like": lambda s, x: torch.full_like(x, -(2**40)),
    "arange": lambda s, x: torch.arange(0, 3_000_000_000, 1_000_000_000) + x,
    "products of small constants": lambda s, x: (torch.arange(3) * 2_000_000_000 + x, s.large * 4),
    "sums of small constants": lambda s, x: (s.large.abs().sum() + x, s.large.cumsum(0)),
    "clamp": lambda s, x: x.clamp(min=-(2**50), max=3_000_000_000),
    "where": lambda s, x: torch.where(x > 2, x, 3_000_000_000),
    "masked_fill": lambda s, x: x.masked_fill(x > 2, 2**40),
    "comparisons": lambda s, x: (x > 3e9, x == 2**33, x < 3_000_000_000, x >= s.wide),
    "bits": lambda s, x: ((x * 2654435761) & 0xFFFFFFFF, x | 2**40),
    "to narrow types": lambda s, x: (x * 2**32 + 5).to(torch.int32),
    "to floats": lambda s, x: (x / 3_000_000_000, x.float() * 3_000_000_000, x * 2.5),
    "from floats": lambda s, x: (x.float() * 1.5e9).to(torch.int64),
    "a size": lambda s, x: x.shape[0] * 3_000_000_000 + x,
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name):
    follows_eager(Stated(INTEGERS[name], wide=WIDE, large=LARGE), *STEPS)


def test_a_state_of_64_bits():
    module = Stated(lambda s, x: (s.n.add_(x), s.n * 2), n=torch.tensor([2**31 - 2, 2**40, 0]))
    follows_eager(module, *STEPS, *STEPS)


FLOATS = {
    "double": lambda s, x: (x.double() + s.tenth, (x.double() + s.tenth) > s.tenth),
    "past the range of f32": lambda s, x: (x.float() * s.huge, s.huge * 1),
    "an infinity of a number": lambda s, x: x.float() + 1e300,
}


@pytest.mark.parametrize("name", FLOATS)
def test_doubles(name):
    tenth, huge = (torch.tensor([v], dtype=torch.float64) for v in (0.1, 1e300))
    module = Stated(FLOATS[name], tenth=tenth, huge=huge)
    from support.lowered import graph_of, lowered

    for inputs in STEPS:
        got = lowered(graph_of(module, inputs))(*inputs)
        expected = module(*inputs)
        expected = [expected] if isinstance(expected, torch.Tensor) else expected
        for g, e in zip(got, expected, strict=True):
            torch.testing.assert_close(
                g, e, rtol=1e-14 if e.dtype == torch.float64 else 1e-6, atol=0
            )
