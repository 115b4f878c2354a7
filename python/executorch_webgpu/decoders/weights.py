"""Tensors as files have them, and what becomes of them in a program.

Formats whose numbers are integers times the scale of a group are kept as they are, if the program
has a form for them: 4 or 8 bits. Others are quantized anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from torch import Tensor

from ..heap import parts_of
from .quantize import QuantizedWeight, quantize, quantize_to_bytes, with_half_scales

# How many bits weights are to have; 32 for floats. None for those of the file where a program can
# have them, else for the nearest.
Bits = Literal[4, 8, 32] | None

# Kinds that 4 bits would change more than the file's maker did.
_FIVE_BITS = {"Q5_1", "Q5_K"}


@dataclass(frozen=True)
class Stored:
    """A tensor of a file, each of its rows by itself.

    Attributes:
        kind: how GGUF calls its type, such as "Q4_0" or "BF16".
        data: rows of bytes [N, B], uint8, for a type of blocks; else the elements.
    """

    kind: str
    data: Tensor

    def rows(self, first: int, count: int, order: Tensor | None) -> Stored:
        """Some of the rows, in another order if one is given."""
        data = self.data[first : first + count]
        return Stored(self.kind, data if order is None else data[order])

    def floats(self) -> Tensor:
        """The float32 elements."""
        if self.data.dtype != torch.uint8:
            return self.data.float()
        kind = GGMLQuantizationType[self.kind]
        return torch.from_numpy(dequantize(self.data.numpy(), kind))

    def exact(self) -> QuantizedWeight | None:
        """The same numbers as integers and scales; None where there are none."""
        unpack = _EXACT.get(self.kind)
        if unpack is None:
            return None
        _, size = GGML_QUANT_SIZES[GGMLQuantizationType[self.kind]]
        values, scales, bits = unpack(self.data.view(-1, size))
        rows = len(self.data)
        return QuantizedWeight(values.view(rows, -1), scales.view(rows, -1), bits)


@dataclass(frozen=True)
class Converted:
    """What became of a tensor.

    Attributes:
        weight: quantized, or the float32 elements.
        error: root mean square of what was changed, as a share of the weight's; 0 for nothing.
    """

    weight: QuantizedWeight | Tensor
    error: float = 0.0

    @property
    def form(self) -> str:
        if isinstance(self.weight, Tensor):
            return "floats"
        return f"{self.weight.bits} bits in groups of {self.weight.group_size}"

    @property
    def is_finite(self) -> bool:
        """Whether all of its numbers are, and were before they were quantized."""
        weight = self.weight
        return math.isfinite(self.error) and is_finite(
            weight if isinstance(weight, Tensor) else weight.scales
        )


def convert(
    stored: Stored,
    bits: Bits,
    group_size: int,
    importance: Tensor | None,
    advance: Callable[[int], None],
) -> Converted:
    """A matrix as it is if that has no more than so many bits, else with so many.

    It is worked out in parts: the floats of an embedding alone can take gigabytes.

    Args:
        importance: see `quantize`.
        advance: called with the number of rows finished since the last call.
    """
    rows = len(stored.data)
    whole: QuantizedWeight | Tensor | None = None
    changed, squares = 0.0, 0.0
    for part in parts_of(rows):
        given = stored.rows(part.start, part.stop - part.start, None)
        found, before = _convert(given, bits, group_size, importance, advance)
        if before is not None:
            changed += float((before - found.dequantize()).square().sum())
            squares += float(before.square().sum())
        whole = _put(whole, rows, part, found)
    assert whole is not None
    if isinstance(whole, QuantizedWeight):
        whole = with_half_scales(whole)
    return Converted(whole, (changed / squares) ** 0.5 if squares else 0.0)


def _convert(
    stored: Stored,
    bits: Bits,
    group_size: int,
    importance: Tensor | None,
    advance: Callable[[int], None],
) -> tuple[QuantizedWeight, Tensor | None] | tuple[Tensor, None]:
    """What becomes of some rows, and their floats where these were changed."""
    rows = len(stored.data)
    same = stored.exact()
    if same is not None and same.bits <= _most_exact(bits):
        advance(rows)
        return same, None
    weight = stored.floats()
    if bits == 32:
        advance(rows)
        return weight, None
    if bits == 8 or (bits is None and stored.kind in _FIVE_BITS):
        quantized = quantize_to_bytes(weight, group_size)
        advance(rows)
    else:
        quantized = quantize(weight, group_size, importance, advance)
    return quantized, weight


def _put(
    whole: QuantizedWeight | Tensor | None, rows: int, part: slice, found: QuantizedWeight | Tensor
) -> QuantizedWeight | Tensor:
    """A matrix of so many rows with some of them put in; it is made with the first."""
    if isinstance(found, Tensor):
        return _put_rows(whole if isinstance(whole, Tensor) else None, rows, part, found)
    values, scales = (
        (whole.values, whole.scales) if isinstance(whole, QuantizedWeight) else (None, None)
    )
    return QuantizedWeight(
        _put_rows(values, rows, part, found.values),
        _put_rows(scales, rows, part, found.scales),
        found.bits,
    )


def _put_rows(whole: Tensor | None, rows: int, part: slice, found: Tensor) -> Tensor:
    if len(found) == rows:
        return found
    made = found.new_empty(rows, found.shape[1]) if whole is None else whole
    made[part] = found
    return made


def is_finite(tensor: Tensor) -> bool:
    """Whether none of its elements is infinite or NaN."""
    return bool(tensor.isfinite().all())


def is_exact(kind: str, bits: Bits) -> bool:
    """Whether matrices of a kind are kept as they are."""
    return kind in _EXACT and (4 if kind == "Q4_0" else 8) <= _most_exact(bits)


def _most_exact(bits: Bits) -> int:
    """The most bits of weights that are kept as they are."""
    return {None: 8, 32: 0}.get(bits, bits or 0)


# --- GGUF's blocks: uint8 [blocks, bytes] to int8 [blocks, elements], scales and bits ---

_Unpacked = tuple[Tensor, Tensor, Literal[4, 8]]


def _half(block: Tensor) -> Tensor:
    """A float16 of two bytes, as float32 [blocks, 1]."""
    return block.contiguous().view(torch.float16).float()


def _nibbles(block: Tensor) -> Tensor:
    """All low halves of the bytes, then all high ones."""
    return torch.cat([block & 15, block >> 4], dim=1)


def _q4_0(block: Tensor) -> _Unpacked:
    return _nibbles(block[:, 2:]).to(torch.int8) - 8, _half(block[:, :2]), 4


def _q5_0(block: Tensor) -> _Unpacked:
    """As Q4_0, with the fifth bits of all elements in four bytes."""
    fifth = (block[:, 2:6].unsqueeze(2) >> torch.arange(8, dtype=torch.uint8)) & 1
    values = _nibbles(block[:, 6:]) | fifth.view(-1, 32) << 4
    return values.to(torch.int8) - 16, _half(block[:, :2]), 8


def _q8_0(block: Tensor) -> _Unpacked:
    return block[:, 2:].contiguous().view(torch.int8), _half(block[:, :2]), 8


def _q6_k(block: Tensor) -> _Unpacked:
    """256 elements: low nibbles, the two bits above them, a scale for 16, and one for all."""
    low, high = block[:, :128].view(-1, 2, 64), block[:, 128:192].view(-1, 2, 1, 32)
    nibbles = torch.cat([low & 15, low >> 4], dim=2).view(-1, 2, 4, 32)
    above = (high >> torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(4, 1)) & 3
    values = (nibbles | above << 4).reshape(-1, 256).to(torch.int8) - 32
    scales = block[:, 192:208].contiguous().view(torch.int8).float()
    return values, scales * _half(block[:, 208:]), 8


_EXACT: dict[str, Callable[[Tensor], _Unpacked]] = {
    "Q4_0": _q4_0,
    "Q5_0": _q5_0,
    "Q8_0": _q8_0,
    "Q6_K": _q6_k,
}
