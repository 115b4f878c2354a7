"""Operators over 8-bit activations: what they give, from sums of integers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::q8ta_*
import torch

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
        self,
        sums: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor | None,
        activation: str,
    ) -> torch.Tensor:
        """Of integer sums, rounded once after each step in f32."""
        value = sums.float() * (scales * torch.tensor(self.x, dtype=F32))
        value = value if bias is None else value + bias
        value = value.relu() if activation == "relu" else value
        inverse = torch.tensor(1.0 / self.out, dtype=F32)
        return ((value * inverse).round() + self.out_zero).clamp(-128, 127).to(I8)


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
