"""Attention over a cache, with and without a rotary embedding, and its reference in doubles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk.*
import torch

from .capi import Model
from .cases import F32
from .delegate import GraphBuilder, Value


@dataclass(frozen=True)
class Shape:
    """Sizes of a cached attention: `tokens` is the bound of q's positions."""

    heads: int
    kv_heads: int
    head_dim: int
    capacity: int
    tokens: int
    batch: int = 1

    def q(self, tokens: int) -> tuple[int, ...]:
        return (self.batch, tokens, self.heads, self.head_dim)

    def kv(self, tokens: int) -> tuple[int, ...]:
        return (self.batch, tokens, self.kv_heads, self.head_dim)


class Reference:
    """The caches and the attention of `sdpa_with_kv_cache`, in double precision."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.k = torch.zeros(shape.kv(shape.capacity), dtype=torch.float64)
        self.v = torch.zeros(shape.kv(shape.capacity), dtype=torch.float64)

    def write(self, k: torch.Tensor, v: torch.Tensor, position: int) -> None:
        end = position + k.shape[1]
        self.k[:, position:end] = k
        self.v[:, position:end] = v

    def attend(
        self,
        q: torch.Tensor,
        position: int,
        causal: bool,
        mask: torch.Tensor | None = None,
        scale: float | None = None,
    ) -> torch.Tensor:
        tokens = q.shape[1]
        keys = self.shape.capacity if mask is not None else position + tokens
        group = self.shape.heads // self.shape.kv_heads
        k, v = (t[:, :keys].transpose(1, 2).repeat_interleave(group, 1) for t in (self.k, self.v))
        scores = q.double().transpose(1, 2) @ k.transpose(2, 3)
        scores = scores * (scale if scale is not None else 1 / math.sqrt(q.shape[3]))
        if mask is not None:
            scores = scores + mask.double()
        if causal:
            late = torch.arange(keys)[None] > torch.arange(position, position + tokens)[:, None]
            scores = scores.masked_fill(late, float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).float().contiguous()


def position_input(g: GraphBuilder) -> Value:
    """A position as exporters give it: an element of an int64 input."""
    return g.symint("et_vk.select_as_symint.default", g.input(torch.int64, (1,)), 0, 0)


def sdpa_model(shape: Shape, causal: bool = True, scale: float | None = None) -> Model:
    """Inputs: position, q, k, v. The caches are zeros that share one constant key."""
    g = GraphBuilder()
    position = position_input(g)
    q, k, v = (g.input(F32, s(shape.tokens)) for s in (shape.q, shape.kv, shape.kv))
    caches = [g.constant(torch.zeros(shape.kv(shape.capacity))) for _ in range(2)]
    args = (q, k, v, *caches, position, 1, None, 0.0, causal, scale)
    g.output(g.call("sdpa_with_kv_cache.default", *args, out=(F32, shape.q(shape.tokens))))
    return g.load()


@dataclass(frozen=True)
class Rotary:
    """halves None: pairs (2i, 2i + 1); else pairs of halves of the first `halves` elements."""

    halves: int | None = None

    def model(self, shape: Shape) -> Model:
        """Inputs: position, q, k, v, cos, sin."""
        g = GraphBuilder()
        position = position_input(g)
        q, k, v = (g.input(F32, s(shape.tokens)) for s in (shape.q, shape.kv, shape.kv))
        cos, sin = (g.input(F32, self.table(shape, shape.tokens)) for _ in range(2))
        caches = [g.constant(torch.zeros(shape.kv(shape.capacity))) for _ in range(2)]
        out = [(F32, shape.q(shape.tokens)), (F32, shape.kv(shape.tokens))]
        if self.halves is None:
            q, k = g.call("et_vk.apply_rotary_emb.default", q, k, cos, sin, out=out)
        else:
            q, k = g.call("et_vk.apply_rotary_emb_hf.default", q, k, cos, sin, position, out=out)
        args = (q, k, v, *caches, position, 1, None, 0.0, True, None)
        g.output(g.call("sdpa_with_kv_cache.default", *args, out=(F32, shape.q(shape.tokens))))
        return g.load()

    def table(self, shape: Shape, tokens: int) -> tuple[int, int]:
        if self.halves is None:
            return (tokens, shape.head_dim // 2)
        return (shape.capacity, self.halves)

    def __call__(self, q: Any, k: Any, cos: Any, sin: Any, position: int) -> Any:
        if self.halves is None:
            return torch.ops.et_vk.apply_rotary_emb(q, k, cos, sin)
        return torch.ops.et_vk.apply_rotary_emb_hf(q, k, cos, sin, position)
