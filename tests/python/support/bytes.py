"""Operators over 8-bit activations: what they give, from sums of integers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::q8ta_*
import torch
from torch.nn import functional

from .cases import F32, I32, Arg, Shape

I8 = torch.int8


@dataclass(frozen=True)
class PowersOfTwo(Arg):
    """From 2^low to 2^high."""

    def sample(self, generator: torch.Generator, shape: Shape | None = None) -> torch.Tensor:
        sizes = self.bound if shape is None else shape
        exponents = torch.randint(int(self.low), int(self.high) + 1, sizes, generator=generator)
        return 2.0**exponents


@dataclass(frozen=True)
class Multiples(Arg):
    """Of 2^-8."""

    def sample(self, generator: torch.Generator, shape: Shape | None = None) -> torch.Tensor:
        sizes = self.bound if shape is None else shape
        return torch.randint(-999, 1000, sizes, generator=generator) / 256.0


@dataclass(frozen=True)
class Scales:
    """Scales and zero points of x and of the output. With exact ones, f32 loses nothing."""

    exact: bool
    x: float
    x_zero: int
    out: float
    out_zero: int

    @staticmethod
    def random(rng: random.Random, spread: float) -> Scales:
        """For outputs as large as `spread` integers of x and the weight together."""
        exact = rng.random() < 0.5
        zero = rng.choice((0, -128, 127, rng.randint(-128, 127)))
        out_zero = rng.choice((0, -128, rng.randint(-128, 127)))
        if exact:
            exponent = max(0, round(spread).bit_length() - 7)
            return Scales(True, 2.0**-5, zero, 2.0 ** (exponent - 12), out_zero)
        x = rng.uniform(0.01, 0.1)
        return Scales(False, x, zero, x * 0.008 * spread / 100, out_zero)

    def weight(self, count: int) -> Arg:
        if self.exact:
            return PowersOfTwo((count,), F32, -7, -6, constant=True)
        return Arg((count,), F32, 0.004, 0.012, constant=True)

    def bias(self, count: int) -> Arg:
        kind = Multiples if self.exact else Arg
        return kind((count,), F32, -3, 3, constant=True)


def requantized(
    sums: torch.Tensor,
    factors: torch.Tensor,
    bias: torch.Tensor | None,
    activation: str,
    scale: float,
    zero: int,
) -> torch.Tensor:
    """Of integer sums, rounded once after each step in f32."""
    value = sums.float() * factors
    value = value if bias is None else value + bias
    value = value.relu() if activation == "relu" else value
    inverse = torch.tensor(1.0 / scale, dtype=F32)
    return ((value * inverse).round() + zero).clamp(-128, 127).to(I8)


# --- What operators give, by their arguments ---


def linear(
    x: torch.Tensor,
    x_scale: float,
    x_zero: int,
    weight: torch.Tensor,
    _: torch.Tensor,
    scales: torch.Tensor,
    scale: float,
    zero: int,
    bias: torch.Tensor | None = None,
    activation: str = "none",
) -> torch.Tensor:
    """`et_vk.q8ta_linear` and its form for one row."""
    outputs = weight.shape[0]
    sums = (x.double() - x_zero) @ weight.double().t()
    factors = scales[:outputs] * torch.tensor(x_scale, dtype=F32)
    added = None if bias is None else bias[:outputs]
    return requantized(sums, factors, added, activation, scale, zero)


@dataclass(frozen=True)
class Window:
    """How a convolution goes over an image."""

    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    output_padding: Sequence[int] | None  # of a transposed one
    dilation: Sequence[int]
    groups: int

    def unpacked(self, packed: torch.Tensor, channels: int) -> torch.Tensor:
        """[OC, C / groups, KH, KW] of rows [OC, KH, KW, C / groups] that are padded, or of a
        depthwise convolution's [KH, KW, OC]."""
        if packed.dim() == 3:
            return packed.permute(2, 0, 1)[:, None]
        depth = self.kernel[0] * self.kernel[1] * channels // self.groups
        taps = packed[:, :depth].reshape(packed.shape[0], *self.kernel, -1)
        # Copied: findings/one_channel_convolutions_of_strided_columns.sh
        return taps.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)

    def sums(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Of integers; weight [OC, C / groups, KH, KW]."""
        # Eager is slow for convolutions of doubles by channel, and floats hold sums of that many.
        exact = torch.float32 if weight[0].numel() <= 512 else torch.float64
        x, weight = x.to(exact), weight.to(exact)
        if self.output_padding is None:
            more = (self.stride, self.padding, self.dilation, self.groups)
            return functional.conv2d(x, weight, None, *more)
        outputs, channels = weight.shape[0] // self.groups, weight.shape[1]
        by_group = weight.reshape(self.groups, outputs, channels, *self.kernel)
        swapped = by_group.transpose(1, 2).reshape(-1, outputs, *self.kernel)
        more = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return functional.conv_transpose2d(x, swapped, None, *more)


def convolution(
    x: torch.Tensor,
    x_scale: float,
    x_zero: int,
    packed: torch.Tensor,
    _: torch.Tensor,
    scales: torch.Tensor,
    scale: float,
    zero: int,
    bias: torch.Tensor | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    *more: Any,
) -> torch.Tensor:
    """Each `et_vk.q8ta_conv2d*`."""
    *output_padding, dilation, groups, activation = more
    transposed = bool(output_padding)
    window = Window(kernel, stride, padding, *(output_padding or [None]), dilation, groups)
    weight = window.unpacked(packed, x.shape[1])
    sums = window.sums(x.int() - x_zero, weight)
    # Transposed ones of several groups have scales of one group's.
    outputs = weight.shape[0]
    count = outputs // groups if transposed else outputs
    factors = scales[:count].repeat(outputs // count) * torch.tensor(x_scale, dtype=F32)
    added = None if bias is None else bias[:outputs, None, None]
    return requantized(sums, factors[:, None, None], added, activation, scale, zero)


def sums_of(count: int) -> Arg:
    """What the exporter knows of weights, and nobody needs: any numbers will do."""
    return Arg((count,), I32, -99, 99, constant=True)


def up_to_4(n: int) -> int:
    return -(-n // 4) * 4


def agreed(ours: torch.Tensor, wheel: Callable[[], torch.Tensor], exact: bool) -> torch.Tensor:
    """Ours, after a look at the wheel's own, whose sums in f32 may turn a tie."""
    theirs = wheel()
    apart = (ours.int() - theirs.int()).abs()
    assert apart.max() <= (0 if exact else 1) if apart.numel() else True
    assert exact or (apart > 0).float().mean() < 0.02 if apart.numel() else True
    return ours
