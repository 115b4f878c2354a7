"""Attention without a cache, as modules' own code and `et_vk.sdpa` write it, against eager torch.

Its calls are one, whose operands lie where the layers before left them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
import torch
from support.capi import ModelError
from support.cases import SUMS, check_outputs, generator_for, rng_for, seeds
from support.delegate import SYMINT, GraphBuilder, Value
from torch import Tensor

F32 = torch.float32
Sizes = tuple[int, ...]
MASKS: tuple[Sizes | None, ...] = (None, (1, 0, 0), (0, 0, 0), (1, 1, 1), (1, 1, 0), (1, 0, 1))


@dataclass
class Encoder:
    """q, k and v [B, S, H * D] as layers leave them, and attention over them [B, S, H * D]."""

    batch: int
    heads: int
    head_dim: int
    longest: int
    mask: Sizes | None  # 1 where batch, heads or queries are broadcast
    packed: bool  # q, k and v are parts of one [B, S, 3 * H * D]
    divides: bool
    live: bool

    @classmethod
    def random(cls, rng: random.Random, live: bool = False) -> Encoder:
        heads = rng.choice((1, 2, 3, 4, 6, 12))
        head_dim = rng.choice((1, 5, 8, 16, 30, 32, 64, 80))
        longest = rng.choice((1, 3, 5, 17, 33, 64, 197 if heads < 4 else 50))
        mask, packed = rng.choice(MASKS), rng.random() < 0.4
        return cls(
            rng.choice((1, 1, 2, 3)),
            heads,
            head_dim,
            longest,
            mask,
            packed,
            rng.random() < 0.5,
            live,
        )

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @property
    def scale(self) -> float:
        return 1 / math.sqrt(self.head_dim) if self.divides else 0.3

    def mask_sizes(self, length: int) -> Sizes:
        assert self.mask is not None
        full = (self.batch, self.heads, length)
        return (*(1 if one else n for one, n in zip(self.mask, full, strict=True)), length)

    def inputs(self, generator: torch.Generator, length: int) -> list[Tensor]:
        width = 3 * self.width if self.packed else self.width
        count = 1 if self.packed else 3
        made = [torch.randn((self.batch, length, width), generator=generator) for _ in range(count)]
        if self.mask is not None:
            mask = torch.randn(self.mask_sizes(length), generator=generator)
            hidden = torch.rand(mask.shape, generator=generator) < 0.3
            made.append(mask.masked_fill(hidden, -math.inf))
        return made

    def eager(self, inputs: list[Tensor]) -> Tensor:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

        parts = inputs[0].chunk(3, -1) if self.packed else inputs[:3]
        q, k, v = (heads(x) for x in parts)
        scores = q @ k.transpose(-2, -1) * self.scale
        if self.mask is not None:
            scores = scores + inputs[-1]
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(-2)

    def graph(self, mixed_up: bool = False) -> GraphBuilder:
        """With `mixed_up` a view takes heads for rows, which is seen where they differ."""
        b, h, d, s = self.batch, self.heads, self.head_dim, self.longest
        g = GraphBuilder()
        width = 3 * self.width if self.packed else self.width
        x = [g.input(F32, (b, s, width)) for _ in range(1 if self.packed else 3)]
        mask = None if self.mask is None else g.input(F32, self.mask_sizes(s))
        length = g.call("sym_size.int", x[0], 1, out=SYMINT) if self.live else s

        def view(value: Value, *sizes: int | Value) -> Value:
            known = tuple(s if isinstance(n, Value) else n for n in sizes)
            return g.call("aten.view_copy.default", value, list(sizes), out=(F32, known))

        def permute(value: Value, order: list[int], *sizes: int) -> Value:
            return g.call("aten.permute_copy.default", value, order, out=(F32, sizes))

        # As layers have them: something that is computed.
        x = [g.call("aten.mul.Tensor", y, 1.0, out=(F32, (b, s, width))) for y in x]
        if self.packed:
            parts = permute(view(x[0], b, length, 3, h, d), [2, 0, 3, 1, 4], 3, b, h, s, d)
            sizes = (F32, (b, h, s, d))
            q, k, v = (g.call("aten.select_copy.int", parts, 0, i, out=sizes) for i in range(3))
        else:
            q, k, v = (permute(view(y, b, length, h, d), [0, 2, 1, 3], b, h, s, d) for y in x)
        k = permute(k, [0, 1, 3, 2], b, h, d, s)
        q, k, v = (
            view(q, b * h, length, d), view(k, b * h, d, length), view(v, b * h, length, d)
        )  # fmt: skip
        scores = g.call("aten.bmm.default", q, k, out=(F32, (b * h, s, s)))
        scores = (
            view(scores, b, length, h, length) if mixed_up else view(scores, b, h, length, length)
        )
        name, by = ("div", 1 / self.scale) if self.divides else ("mul", self.scale)
        factor = g.prepack(torch.tensor(by)) if self.packed else by
        scores = g.call(f"aten.{name}.Tensor", scores, factor, out=(F32, (b, h, s, s)))
        if mask is not None:
            scores = g.call("aten.add.Tensor", scores, mask, 1, out=(F32, (b, h, s, s)))
        weights = g.call("aten._softmax.default", scores, -1, False, out=(F32, (b, h, s, s)))
        weights = view(weights, b * h, length, length)
        y = g.call("aten.bmm.default", weights, v, out=(F32, (b * h, s, d)))
        y = permute(view(y, b, h, length, d), [0, 2, 1, 3], b, s, h, d)
        g.output(view(y, b, length, h * d))
        return g


@pytest.mark.parametrize("seed", seeds(60))
def test_products(seed: int) -> None:
    encoder = Encoder.random(rng_for("products", seed))
    inputs = encoder.inputs(generator_for("products", seed), encoder.longest)
    with encoder.graph().load() as model:
        check_outputs(model.run(*inputs), [encoder.eager(inputs)], SUMS, str(encoder))


@pytest.mark.parametrize("seed", seeds(12))
def test_products_of_any_length(seed: int) -> None:
    rng, generator = rng_for("lengths", seed), generator_for("lengths", seed)
    encoder = Encoder.random(rng, live=True)
    with encoder.graph().load() as model:
        for length in (encoder.longest, 1, (encoder.longest + 1) // 2, encoder.longest):
            inputs = encoder.inputs(generator, length)
            check_outputs(model.run(*inputs), [encoder.eager(inputs)], SUMS, f"{encoder} {length}")


def test_an_odd_length_of_many_heads() -> None:
    encoder = Encoder(1, 12, 64, 197, None, True, True, False)
    inputs = encoder.inputs(generator_for("vit"), 197)
    with encoder.graph().load() as model:
        check_outputs(model.run(*inputs), [encoder.eager(inputs)], SUMS)


def test_a_reshape_that_mixes_heads_and_rows() -> None:
    """A view that strides cannot say is copied."""
    g, b, h, s, d = GraphBuilder(), 2, 4, 6, 8
    x = g.input(F32, (b, s, h, d))
    heads = g.call("aten.permute_copy.default", x, [0, 2, 1, 3], out=(F32, (b, h, s, d)))
    mixed = g.call("aten.view_copy.default", heads, [b, s, h, d], out=(F32, (b, s, h, d)))
    turned = g.call("aten.permute_copy.default", mixed, [0, 2, 1, 3], out=(F32, (b, h, s, d)))
    y = g.call("et_vk.sdpa.default", turned, heads, turned, None, None, out=(F32, (b, h, s, d)))
    g.output(y)
    given = torch.randn((b, s, h, d), generator=generator_for("mixed"))
    k = given.transpose(1, 2).contiguous()
    q = k.reshape(b, s, h, d).transpose(1, 2)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, q)
    with g.load() as model:
        check_outputs(model.run(given), [want], SUMS)


def test_permutations_of_ones_move_nothing() -> None:
    g = GraphBuilder()
    x = g.input(F32, (1, 7, 8))
    y = g.call("aten.permute_copy.default", x, [1, 0, 2], out=(F32, (7, 1, 8)))
    y = g.call("aten.add.Tensor", y, y, 1, out=(F32, (7, 1, 8)))
    g.output(g.call("aten.permute_copy.default", y, [1, 2, 0], out=(F32, (1, 8, 7))))
    given = torch.randn((1, 7, 8), generator=generator_for("ones"))
    with g.load() as model:
        check_outputs(model.run(given), [(2 * given).transpose(1, 2)], SUMS)


def test_a_view_that_takes_heads_for_rows_is_refused() -> None:
    encoder = Encoder(1, 4, 8, 4, None, False, True, True)
    with encoder.graph(mixed_up=True).load() as model:
        inputs = encoder.inputs(generator_for("mixed up"), 3)
        with pytest.raises(ModelError, match=r"\[1, 4, 3, 3\] is viewed as \[1, 3, 4, 3\]"):
            model.run(*inputs)
