"""Decoders as exporters write them, in any sizes, and eager torch's results for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from .capi import Model
from .cases import F32, I64, Tolerance, check_outputs, generator_for
from .delegate import GraphBuilder, Value

CLOSE = Tolerance(3e-4, 3e-4)


@dataclass(frozen=True)
class Sizes:
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    group: int
    vocabulary: int
    context: int
    most: int  # tokens in one call
    bias: bool = False
    half_split: bool = False  # rotary pairs are halves, not neighbours
    ranks_kept: bool = True  # no [1, S, D] views around the linears, as other exporters write it
    norm_read_twice: bool = False
    hidden_is_output: bool = False
    gate_first: bool = True
    seed: int = 0

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


@dataclass
class Weights:
    """Constants, made as they are asked for, in the order of the graph."""

    sizes: Sizes
    generator: torch.Generator
    made: dict[str, torch.Tensor] = field(default_factory=dict)

    def linear(self, name: str, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Packed bytes and scales; `made[name]` holds the floats."""
        packed = torch.randint(0, 256, (n, k // 2), generator=self.generator).to(torch.uint8)
        scales = torch.rand(k // self.sizes.group, n, generator=self.generator) - 0.5
        scales *= 0.6 / k**0.5
        values = torch.stack([(packed & 15).int() - 8, (packed >> 4).int() - 8], -1).flatten(1)
        self.made[name] = values * scales.t().repeat_interleave(self.sizes.group, 1)
        return packed, scales

    def vector(self, name: str, n: int) -> torch.Tensor:
        self.made[name] = torch.rand(n, generator=self.generator) + 0.5
        return self.made[name]


class DecoderGraph:
    """The delegate of a decoder: (tokens [1, S], position [1]) -> logits [1, V]."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.weights = Weights(sizes, generator_for("decoder", sizes.seed))
        self.g = GraphBuilder()

    def build(self) -> GraphBuilder:
        g, z = self.g, self.sizes
        tokens = g.input(I64, (1, z.most))
        position = g.input(I64, (1,))
        self.length = g.symint("sym_size.int", tokens, 1)
        packed, scales = self.weights.linear("head", z.vocabulary, z.width)
        table = (g.constant(packed), g.constant(scales.t().contiguous()), z.group)
        name = "et_vk.embedding_q4gsw.default"
        x = g.call(name, *table, tokens, True, out=(F32, (1, z.most, z.width)))
        self.start = g.symint("et_vk.select_as_symint.default", position, 0, 0)
        self.tables = self._tables()
        for i in range(z.layers):
            x = self._layer(f"{i}.", x)
        if z.hidden_is_output:
            g.output(x)
        last = g.call("aten.select_copy.int", x, 1, -1, out=(F32, (1, z.width)))
        normed = self._norm("norm", last, (1, z.width))
        head = (g.constant(packed), g.constant(scales), z.group, None)
        g.output(g.call("et_vk.linear_q4gsw.default", normed, *head, out=(F32, (1, z.vocabulary))))
        return g

    def _tables(self) -> tuple[Value, Value]:
        g, z = self.g, self.sizes
        whole = [g.prepack(t) for t in rotary_tables(z)]
        if z.half_split:
            return whole[0], whole[1]
        end = g.symint("add", self.start, self.length)
        out = (F32, (z.most, z.head_dim // 2))
        cos, sin = (
            g.call("aten.slice_copy.Tensor", t, 0, self.start, end, 1, out=out) for t in whole
        )
        return cos, sin

    def _layer(self, prefix: str, x: Value) -> Value:
        g, z = self.g, self.sizes
        shape = (1, z.most, z.width)
        h = self._norm(prefix + "attention_norm", x, shape)
        q = self._heads(self._linear(prefix + "q", h, z.width, z.width), z.heads)
        k = self._heads(self._linear(prefix + "k", h, z.kv_heads * z.head_dim, z.width), z.kv_heads)
        v = self._heads(self._linear(prefix + "v", h, z.kv_heads * z.head_dim, z.width), z.kv_heads)
        out = [(F32, (1, z.most, n, z.head_dim)) for n in (z.heads, z.kv_heads)]
        if z.half_split:
            name, extra = "et_vk.apply_rotary_emb_hf.default", [self.start]
        else:
            name, extra = "et_vk.apply_rotary_emb.default", []
        q, k = g.call(name, q, k, *self.tables, *extra, out=out)
        zeros = torch.zeros(1, z.context, z.kv_heads, z.head_dim)
        caches = [g.constant(zeros) for _ in range(2)]
        rest = (self.start, 1, None, 0.0, True, None)
        name = "sdpa_with_kv_cache.default"
        attended = g.call(name, q, k, v, *caches, *rest, out=out[0])
        flat = g.call(
            "aten.view_copy.default", attended, [1, self.length, z.width], out=(F32, shape)
        )
        x = self._residual(x, self._linear(prefix + "o", flat, z.width, z.width), shape)
        h = self._norm(prefix + "mlp_norm", x, shape)
        names = ("gate", "up") if z.gate_first else ("up", "gate")
        made = {n: self._linear(prefix + n, h, z.hidden, z.width) for n in names}
        inner = (F32, (1, z.most, z.hidden))
        gate = g.call("aten.sigmoid.default", made["gate"], out=inner)
        silu = g.call("aten.mul.Tensor", made["gate"], gate, out=inner)
        product = g.call("aten.mul.Tensor", silu, made["up"], out=inner)
        y = self._residual(x, self._linear(prefix + "down", product, z.width, z.hidden), shape)
        if z.norm_read_twice:
            y = g.call("aten.add.Tensor", y, h, 1, out=(F32, shape))
        return y

    def _residual(self, x: Value, y: Value, shape: tuple[int, ...]) -> Value:
        return self._call("aten.add.Tensor", x, y, 1, out=(F32, shape))

    def _norm(self, name: str, x: Value, shape: tuple[int, ...]) -> Value:
        weight = self.g.constant(self.weights.vector(name, self.sizes.width))
        return self._call("et_vk.rms_norm.default", x, weight, 1e-5, out=(F32, shape))

    def _linear(self, name: str, x: Value, n: int, k: int) -> Value:
        g, z = self.g, self.sizes
        packed, scales = (g.constant(t) for t in self.weights.linear(name, n, k))
        bias = g.constant(self.weights.vector(name + ".bias", n)) if z.bias else None
        out = (F32, (1, z.most, n))
        y = g.call("et_vk.linear_q4gsw.default", x, packed, scales, z.group, bias, out=out)
        if z.ranks_kept:
            return y
        return g.call("aten.view_copy.default", y, [1, self.length, n], out=out)

    def _heads(self, x: Value, heads: int) -> Value:
        z = self.sizes
        sizes = [1, self.length, heads, z.head_dim]
        out = (F32, (1, z.most, heads, z.head_dim))
        return self._call("aten.view_copy.default", x, sizes, out=out)

    def _call(self, name: str, *args: Any, out: tuple[torch.dtype, Sequence[int]]) -> Value:
        value = self.g.call(name, *args, out=out)
        assert isinstance(value, Value)
        return value


def rotary_tables(z: Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [context, D/2], or [context, D] for halves."""
    angles = torch.arange(z.context)[:, None] * 100.0 ** -torch.linspace(0, 1, z.head_dim // 2)
    if z.half_split:
        angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def reference(z: Sizes, made: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Hidden states [S, D] after the last layer, of a sequence that starts at 0."""
    cos, sin = (t[: len(tokens), None] for t in rotary_tables(z))

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, made[name], made.get(name + ".bias"))

    def turned(x: torch.Tensor) -> torch.Tensor:
        if z.half_split:
            a, b = x.chunk(2, -1)
            return x * cos + torch.cat([-b, a], -1) * sin
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    x = made["head"][tokens]
    for i in range(z.layers):
        h = F.rms_norm(x, (z.width,), made[f"{i}.attention_norm"], 1e-5)
        q, k, v = (linear(f"{i}.{n}", h).view(len(h), -1, z.head_dim) for n in "qkv")
        q, k, v = (t.transpose(0, 1) for t in (turned(q), turned(k), v))
        k, v = (t.repeat_interleave(z.heads // z.kv_heads, 0) for t in (k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(f"{i}.o", attended.transpose(0, 1).flatten(1))
        h = F.rms_norm(x, (z.width,), made[f"{i}.mlp_norm"], 1e-5)
        gated = F.silu(linear(f"{i}.gate", h)) * linear(f"{i}.up", h)
        x = x + linear(f"{i}.down", gated)
        if z.norm_read_twice:
            x = x + h
    return x


def logits(z: Sizes, made: dict[str, torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    return F.linear(F.rms_norm(hidden, (z.width,), made["norm"], 1e-5), made["head"])


def random_sizes(rng: random.Random, seed: int) -> Sizes:
    """Widths are multiples of 32, as the embedding needs; everything else is odd at times."""
    heads, kv_heads, head_dim = rng.choice(
        (
            (2, 1, 16),
            (4, 2, 8),
            (1, 1, 32),
            (3, 1, 32),
            (8, 8, 4),
            (6, 3, 64),
            (4, 1, 24),
            (36, 9, 8),
        )
    )
    group = rng.choice((8, 16, 32))
    context = rng.choice((20, 40, 70, 300))
    return Sizes(
        layers=rng.choice((1, 2, 3)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=group * rng.choice((1, 2, 5)),
        group=group,
        vocabulary=rng.choice((7, 33, 100)),
        context=context,
        most=rng.choice((5, min(69, context - 1))),
        bias=seed % 3 == 1,
        half_split=seed % 4 == 1,
        ranks_kept=seed % 2 == 0,
        norm_read_twice=seed % 5 == 2,
        hidden_is_output=seed % 5 == 3,
        gate_first=seed % 3 != 2,
        seed=seed,
    )


def converse(model: Model, z: Sizes, made: dict[str, torch.Tensor], rng: random.Random) -> None:
    """Two conversations: prompts and single steps in random order, the second from 0 again."""
    for _ in range(2):
        seen: list[int] = []
        for step in range(7):
            room = min(z.most, z.context - len(seen))
            if room < 1:
                break
            count = 1 if step % 3 == 1 else rng.randint(1, room)
            fed = [rng.randrange(z.vocabulary) for _ in range(count)]
            got = model.run(torch.tensor([fed]), torch.tensor([len(seen)]))
            seen += fed
            hidden = reference(z, made, torch.tensor(seen))
            expected = [logits(z, made, hidden[-1:])]
            if z.hidden_is_output:
                expected.insert(0, hidden[None, -count:])
            check_outputs(got, expected, CLOSE, f"{z}: {count} tokens at {len(seen) - count}")
