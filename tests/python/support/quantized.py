"""4-bit weights in groups, and linear layers of them."""

from __future__ import annotations

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::embedding_q4gsw
import torch

from .cases import F32, I32, Tolerance, generator_for
from .delegate import GraphBuilder

# Sums of K products of 4-bit weights: the error grows with K.
LONG_SUMS = Tolerance(1e-4, 3e-4)


def random_weight(
    n: int, k: int, group: int, seed: int, scale_type: torch.dtype = F32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Packed bytes [N, K/2], every nibble from 0 to 15, and scales [K/G, N] of both signs."""
    generator = generator_for("weight", n, k, group, seed)
    packed = torch.randint(0, 256, (n, k // 2), generator=generator).to(torch.uint8)
    scales = torch.rand(k // group, n, generator=generator) * 0.2 - 0.1
    return packed, scales.to(scale_type)


def unpacked(packed: torch.Tensor, low_first: bool) -> torch.Tensor:
    """Nibbles as signed numbers: [N, K/2] bytes to [N, K]."""
    low, high = (packed & 15).to(I32) - 8, (packed >> 4).to(I32) - 8
    order = (low, high) if low_first else (high, low)
    return torch.stack(order, -1).reshape(packed.shape[0], -1).float()


def linear_reference(
    x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, group: int
) -> torch.Tensor:
    weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(group, 1)
    return (x.double() @ weight.double().t()).float()


def linear_graph(
    x_bound: tuple[int, ...],
    packed: torch.Tensor,
    scales: torch.Tensor,
    group: int,
    bias: torch.Tensor | None,
    dtype: torch.dtype = F32,
) -> GraphBuilder:
    g = GraphBuilder()
    x = g.input(dtype, x_bound)
    weight = (g.constant(packed), g.constant(scales if dtype == F32 else scales.to(dtype)), group)
    constant_bias = None if bias is None else g.constant(bias.to(dtype))
    out = (dtype, (*x_bound[:-1], packed.shape[0]))
    g.output(g.call("et_vk.linear_q4gsw.default", x, *weight, constant_bias, out=out))
    return g
