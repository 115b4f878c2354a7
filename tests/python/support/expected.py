"""When an output is right. Over numpy arrays: it holds where there is no torch, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SMALLEST = float(np.finfo(np.float32).tiny)  # that is normal
_INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True)
class Tolerance:
    """|got - expected| <= absolute + relative * |expected|."""

    relative: float
    absolute: float


@dataclass(frozen=True)
class Expected:
    """An output: each of its elements is that of one of the alternatives, within the tolerance.

    NaN is NaN, an infinity is that one, and numbers that are no floats are equal. Where 32-bit
    integers are expected, 64-bit ones will do, and the reverse.

    Attributes:
        alternatives: of one dtype and the same sizes; mostly there is one.
        subnormal_zeros: numbers below the smallest normal f32, in either, count as zeros.
        signed: where a zero has the sign of the first alternative's; nowhere if None.
    """

    alternatives: Sequence[Array]
    tolerance: Tolerance
    subnormal_zeros: bool = False
    signed: Array | None = None

    def difference(self, got: Array) -> str | None:
        """What is wrong with `got`, or None."""
        first = self.alternatives[0]
        if got.shape != first.shape:
            return f"{got.shape} != {first.shape}"
        if got.dtype != first.dtype and not {got.dtype, first.dtype} <= {*_INTEGERS}:
            return f"{got.dtype} != {first.dtype}"
        wrong = self.wrong(got)
        if not wrong.any():
            return None
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        with np.errstate(invalid="ignore"):
            largest = np.abs(_wide(got)[wrong] - _wide(first)[wrong]).max()
        return (
            f"{first.shape}: {int(wrong.sum())} of {first.size} elements differ, first at {at}:"
            f" got {got[at].item()!r}, expected {first[at].item()!r},"
            f" largest difference {largest:.3g}"
        )

    def wrong(self, got: Array) -> Array:
        """For each element of `got`, of the sizes that are expected, whether it is wrong."""
        disagrees = [~self._agrees(got, e) for e in self.alternatives]
        wrong = np.asarray(np.logical_and.reduce(disagrees))
        if self.signed is not None:
            other_sign = np.signbit(got) != np.signbit(self.alternatives[0])
            wrong |= self.signed & (got == 0) & other_sign
        return wrong

    def _agrees(self, got: Array, expected: Array) -> Array:
        agrees: Array = got == expected
        if not np.issubdtype(expected.dtype, np.floating):
            return agrees
        g, e = _wide(got), _wide(expected)
        if self.subnormal_zeros:
            g, e = (np.where(np.abs(t) < SMALLEST, 0, t) for t in (g, e))
            # What rounds to the smallest normal number may have been taken for zero before.
            agrees = agrees | (np.abs(g) <= SMALLEST) & (np.abs(e) <= SMALLEST)
        with np.errstate(invalid="ignore"):
            allowed = self.tolerance.absolute + self.tolerance.relative * np.abs(e)
            # Else nothing were too far from an infinity.
            agrees = agrees | (np.isfinite(e) & (np.abs(g - e) <= allowed))
        return agrees | (np.isnan(g) & np.isnan(e))


def _wide(t: Array) -> Array:
    return t.astype(np.float64)
