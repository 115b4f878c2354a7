"""Symmetric quantization in groups: to 4 bits with a search for each group's scale, and to 8.

A weight of 4 bits is stored as an integer in [-8, 7] times its group's float scale. The scale may
be negative: the range is lopsided, and the sign decides which side of zero gets the extra step. The
search keeps, per group, the scale with the least squared error, each column weighted by the second
moment of the input it multiplies, so that error goes where the layer hardly looks. The idea of
trying scales around the extreme value and refitting each by weighted least squares is that of
llama.cpp's quantizers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..heap import parts_of
from ..workers import single_threaded_workers

LOWEST, HIGHEST = -8, 7

# Where the group's extreme value lands on the integer grid. Beyond the grid it is clipped, which
# pays when the other values gain more from the finer step than the extreme one loses.
_LANDINGS: list[float] = torch.linspace(5.0, 10.0, 15).tolist()

# Rounding again with the fitted scale often finds a better fit.
_REFITS = 2

# Elements worked on at once: small enough for the temporaries to stay in the processor's cache.
_BLOCK = 1 << 17


@dataclass(frozen=True)
class QuantizedWeight:
    """A matrix [N, K] as integers and scales.

    Attributes:
        values: int8 [N, K], each in [-8, 7], or of 8 bits in [-128, 127].
        scales: float32 [N, K / group size], of either sign; or float16, see `with_half_scales`.
    """

    values: Tensor
    scales: Tensor
    bits: Literal[4, 8] = 4

    @property
    def group_size(self) -> int:
        return self.values.shape[1] // self.scales.shape[1]

    def rows(self, part: slice) -> QuantizedWeight:
        """Some of the rows; what is written to them is written to the matrix."""
        return QuantizedWeight(self.values[part], self.scales[part], self.bits)

    def dequantize(self) -> Tensor:
        """The float32 matrix [N, K] that the integers and scales stand for."""
        groups = self.values.view(*self.scales.shape, self.group_size)
        return (groups * self.scales.float().unsqueeze(-1)).view(self.values.shape)


def quantize(
    weight: Tensor,
    group_size: int,
    importance: Tensor | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> QuantizedWeight:
    """Quantize a float32 matrix [N, K]; K must be a multiple of `group_size`.

    Args:
        importance: [K], the second moment of each input of the layer; all equal when None.
        advance: called with the number of rows finished since the last call.
    """
    rows, columns = weight.shape
    if columns % group_size:
        raise ValueError(f"group size {group_size} does not divide the {columns} columns")
    column_weight = torch.ones(columns) if importance is None else importance.float()
    group_weight = column_weight.view(1, -1, group_size)
    values = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(rows, columns // group_size)

    def quantize_rows(part: slice) -> int:
        block = weight[part].float().view(-1, columns // group_size, group_size)
        scales[part], best_values = _search(block, group_weight)
        values[part] = best_values.view(-1, columns)
        return len(block)

    step = max(1, _BLOCK // columns)
    parts = [slice(start, start + step) for start in range(0, rows, step)]
    with single_threaded_workers() as workers:
        for finished in workers.map(quantize_rows, parts):
            advance(finished)
    return QuantizedWeight(values, scales)


def quantize_to_bytes(weight: Tensor, group_size: int) -> QuantizedWeight:
    """Quantize a float32 matrix [N, K] to 8 bits, each to the nearest of 255 steps."""
    groups = weight.float().view(len(weight), -1, group_size)
    scales = _rounded(groups.abs().amax(-1) / 127)
    inverse = torch.where(scales == 0, 0.0, scales.reciprocal())
    values = (groups * inverse.unsqueeze(-1)).round_().to(torch.int8)
    return QuantizedWeight(values.view(weight.shape), scales, 8)


def with_half_scales(weight: QuantizedWeight) -> QuantizedWeight:
    """The same matrix with scales in float16, if that has all of them.

    A file and a GPU's memory then have a tenth less to hold, and a GPU as much less to read for
    each token.
    """
    scales = weight.scales.half()
    same = _are_normal_halves(weight.scales) & (scales == weight.scales) | (weight.scales == 0)
    return replace(weight, scales=scales) if bool(same.all()) else weight


def _are_normal_halves(scales: Tensor) -> Tensor:
    """Whether float16 has them near; of numbers below its normal ones GPUs may make zeros."""
    limits = torch.finfo(torch.float16)
    sizes = scales.abs()
    return (sizes >= limits.smallest_normal) & (sizes <= limits.max)


def _rounded(scales: Tensor) -> Tensor:
    """To float16 where that has them near: a thousandth of what the values lose."""
    return torch.where(_are_normal_halves(scales), scales.half().float(), scales)


def halves(weight: QuantizedWeight) -> tuple[QuantizedWeight, QuantizedWeight]:
    """Two matrices of 4 bits whose sum is one of 8 bits, worked out in parts.

    The first counts sixteens, and both lie in [-8, 7], so that the sum reaches from -136 to 119. A
    group with numbers above changes its sign; one that also has numbers below -119 loses up to 8
    steps of these.
    """
    sixteens, ones = (torch.empty_like(weight.values) for _ in range(2))
    scales = torch.empty_like(weight.scales)
    for rows in parts_of(len(weight.values)):
        part = weight.rows(rows)
        sixteens[rows], ones[rows], scales[rows] = _halves(part.values, part.scales)
    high = with_half_scales(QuantizedWeight(sixteens, scales.float() * 16))
    return high, QuantizedWeight(ones, scales)


def _halves(values: Tensor, scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sixteens, ones, and the scales of the ones."""
    groups = values.view(*scales.shape, -1).to(torch.int16)
    sign = 1 - 2 * (groups.amax(-1, keepdim=True) > 119).to(torch.int16)
    groups = (groups * sign).clamp(max=119)
    ones = (groups + 8) % 16 - 8
    sixteens = (groups - ones) // 16
    return sixteens.view(values.shape), ones.view(values.shape), scales * sign.squeeze(-1)


@torch.no_grad()
def _search(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Best scales [.., groups] and values [.., groups, size] for x, weighted by `weight`."""
    extreme = x.gather(-1, x.abs().argmax(-1, keepdim=True)).squeeze(-1)
    extreme = torch.where(extreme == 0, 1.0, extreme)  # an all-zero group: any scale will do
    weighted_x = x * weight
    best_gain = torch.full_like(extreme, -1.0)
    best_inverse = extreme.reciprocal()

    def consider(inverse: Tensor) -> None:
        nonlocal best_gain, best_inverse
        _, gain = _fit(x, weighted_x, weight, inverse)
        better = gain > best_gain
        best_gain = torch.where(better, gain, best_gain)
        best_inverse = torch.where(better, inverse, best_inverse)

    for landing in _LANDINGS:
        consider(landing / extreme)
        consider(-landing / extreme)
    for _ in range(_REFITS):
        scale, _ = _fit(x, weighted_x, weight, best_inverse)
        consider(scale.reciprocal())
    scale, _ = _fit(x, weighted_x, weight, best_inverse)
    return _rounded(scale), _round(x, best_inverse)


def _round(x: Tensor, inverse_scale: Tensor) -> Tensor:
    return (x * inverse_scale.unsqueeze(-1)).round_().clamp_(LOWEST, HIGHEST)


def _fit(x: Tensor, weighted_x: Tensor, weight: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """The least-squares scale for x rounded with `inverse`, and what it gains.

    With values q, the error sum w (x - s q)^2 is least at s = sum w x q / sum w q^2 and is then
    sum w x^2 - s sum w x q: the larger the gain s sum w x q, the smaller the error.
    """
    q = _round(x, inverse)
    overlap = (weighted_x * q).sum(-1)
    norm = (q.square_() * weight).sum(-1)
    # All values rounded to zero, or hit only columns that never see an input: nothing to fit.
    scale = torch.where(overlap == 0, inverse.reciprocal(), overlap / norm)
    return scale, scale * overlap
