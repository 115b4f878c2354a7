"""The edges of f32, and what an operator may give there.

WGSL lets a device take subnormal numbers for zero. So a subnormal operand counts as itself or as
zero, each operand by itself, and a subnormal result counts as zero. Everything else must be what
eager torch gives, NaN and infinities included, within a relative tolerance, and a zero must have
its sign where no subnormal number is about.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from .capi import as_array
from .cases import generator_for
from .expected import SMALLEST, Expected, Tolerance
from .observer import OBSERVERS

INFINITY = math.inf
NAN = math.nan
LARGEST = torch.finfo(torch.float32).max

_MAGNITUDES = (
    # zero, subnormal numbers, and around the smallest normal one
    *(0.0, 1e-45, 1e-40, SMALLEST * (1 - 2**-23), SMALLEST, 2 * SMALLEST),
    # whose squares, and products with each other, are past the range, or whose sines are their own
    *(1e-20, 6e-20, 1e-8, 1e8, 1e20, 1e30, 3e38),
    *(0.25, 0.5, 0.75, 1.0, 1.0 + 2**-23, 1.5, 2.0, 2.5, 3.0, 3.5, 10.0, 100.0, 257.0),
    # halves to round, whole numbers that float and integer still tell apart, and those past that
    *(0.49999997, 4194304.5, 8388607.5, 8388609.0, 16777216.0, 16777218.0, 2.0**31, 2.0**63),
    # where exp, and what is made of it, leaves the range
    *(16.7, 43.0, 87.3, 88.0, 88.72, 88.73, 103.9, 104.1),
    *(LARGEST, LARGEST / 2, INFINITY),
)

# Both signs of all, and NaN.
EDGES = torch.tensor([*_MAGNITUDES, *(-m for m in _MAGNITUDES), NAN])


def flushed(t: torch.Tensor) -> torch.Tensor:
    """Subnormal numbers as zeros of their sign."""
    return torch.where(t.abs() < SMALLEST, t * 0, t) if t.is_floating_point() else t


def readings(*operands: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """The operands as they are, and each of them with subnormal numbers as zeros."""
    return list(itertools.product(*((t, flushed(t)) for t in operands)))


def check_edges(
    got: torch.Tensor,
    reference: Callable[..., torch.Tensor],
    operands: Sequence[torch.Tensor],
    *,
    relative: float,
    absolute: float = 0.0,
    also: Sequence[Callable[..., torch.Tensor]] = (),
    signed_zeros: bool = True,
    where: str,
) -> None:
    """Every element is what `reference` makes of one of the readings of its operands.

    Args:
        operands: as the operator got them, all of the output's sizes.
        relative: of the error; 0 for exact results.
        absolute: error that is accepted beside that.
        also: other references that may be followed, where eager torch has more than one answer.
        signed_zeros: False where WGSL leaves open which of two zeros is the larger.
    """
    each = [f(*reading) for f in (reference, *also) for reading in readings(*operands)]
    for e in each:
        assert e.shape == got.shape, f"{where}: {tuple(got.shape)} != {tuple(e.shape)}"
    settled = _is_settled(each) & ~torch.stack([_subnormal(t) for t in operands]).any(0)
    expected = _expected(each, relative, absolute, settled if signed_zeros else None)
    for observer in OBSERVERS:
        observer.checks(got, expected)
    wrong = torch.from_numpy(expected.wrong(as_array(got)))
    if not wrong.any():
        return
    listed = [
        f"of {[t[at].item() for t in operands]} {got[at].item()!r}, not {each[0][at].item()!r}"
        for at in map(tuple, wrong.nonzero()[:5].tolist())
    ]
    raise AssertionError(f"{where}: {int(wrong.sum())} differ: {'; '.join(listed)}")


def agrees(
    got: torch.Tensor, expected: torch.Tensor, relative: float, absolute: float
) -> torch.Tensor:
    wrong = _expected([expected], relative, absolute).wrong(as_array(got))
    return ~torch.from_numpy(wrong)


def _expected(
    each: Sequence[torch.Tensor],
    relative: float,
    absolute: float,
    signed: torch.Tensor | None = None,
) -> Expected:
    arrays = [as_array(e) for e in each]
    return Expected(
        arrays, Tolerance(relative, absolute), True, None if signed is None else as_array(signed)
    )


def _subnormal(t: torch.Tensor) -> torch.Tensor:
    return (t != 0) & (t.abs() < SMALLEST)


def _is_settled(expected: Sequence[torch.Tensor]) -> torch.Tensor:
    """Where every reading gives the same zero."""
    first = expected[0]
    same = [(e == 0) & (torch.signbit(e) == torch.signbit(first)) for e in expected]
    return torch.stack(same).all(0)


def special_rows(n: int) -> torch.Tensor:
    """[R, n]: numbers with something special among them, or nothing else; n is at least 4."""
    generator = generator_for("special rows", n)

    def row(*specials: float, among: float | None = None) -> torch.Tensor:
        made = torch.randn(n, generator=generator) if among is None else torch.full((n,), among)
        for i, special in enumerate(specials):
            made[(7 * i + 3) % n] = special
        return made

    specials = (NAN, INFINITY, -INFINITY, LARGEST, -LARGEST, 1e20)
    rows = [row(special) for special in specials]
    rows += [row(first, second) for first in specials[:3] for second in specials[:3]]
    rows += [row(among=value) for value in (*specials[:5], 0.0, -0.0, 1e-40, -1e-45, SMALLEST)]
    rows += [row(value, among=-INFINITY) for value in (NAN, INFINITY, 1.0, -LARGEST)]
    rows += [row(value, among=LARGEST) for value in (NAN, -INFINITY, 1.0)]
    for value in specials[:3]:
        for place in (0, -1):
            rows.append(row())
            rows[-1][place] = value
    return torch.stack(rows)
