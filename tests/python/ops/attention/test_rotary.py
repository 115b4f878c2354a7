"""Rotary position embeddings: adjacent pairs, half-split, and interleaved complex numbers."""

from __future__ import annotations

import random

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::apply_rotary_emb*
import pytest
import torch
from support.capi import ModelError
from support.cases import (
    F16,
    F32,
    I64,
    NORMAL,
    TIGHT,
    Arg,
    check_op,
    check_outputs,
    generator_for,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder

HEADS = ((1, 1), (4, 2), (9, 3), (3, 5), (8, 8))


def lengths(rng: random.Random, most: int) -> list[int]:
    counts = [most, 1, rng.randint(1, most), 1, rng.randint(1, most), most]
    rng.shuffle(counts)
    return counts


@pytest.mark.parametrize("seed", seeds(20))
def test_apply_rotary_emb(seed: int) -> None:
    rng = rng_for("rotary", seed)
    batch, most = rng.choice((1, 1, 2)), rng.choice((1, 5, 40))
    hq, hk = rng.choice(HEADS)
    dim = rng.choice((2, 6, 16, 64, 128))
    dtype = F16 if seed % 5 == 4 else F32

    def shapes(s: int) -> list[tuple[int, ...]]:
        return [(batch, s, hq, dim), (batch, s, hk, dim), (s, dim // 2), (s, dim // 2)]

    check_op(
        "et_vk.apply_rotary_emb.default",
        [Arg(b, dtype) for b in shapes(most)],
        torch.ops.et_vk.apply_rotary_emb,
        live=[shapes(s) for s in lengths(rng, most)],
        tolerance=TIGHT,
        key=seed,
    )


def test_apply_rotary_emb_with_tables_by_head() -> None:
    """freqs [S, H, D/2]: one angle for each head, where both tensors have as many."""
    check_op(
        "et_vk.apply_rotary_emb.default",
        [Arg((1, 7, 3, 8)), Arg((1, 7, 3, 8)), Arg((7, 3, 4)), Arg((7, 3, 4))],
        torch.ops.et_vk.apply_rotary_emb,
        tolerance=TIGHT,
    )


def test_tables_cut_at_the_context() -> None:
    """Tables sliced at a live position: past their end the sentence is about the position."""
    g = GraphBuilder()
    q, k = g.input(F32, (1, 6, 2, 8)), g.input(F32, (1, 6, 1, 8))
    pos = g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)
    end = g.symint("add", pos, g.symint("sym_size.int", q, 1))
    cut = [
        g.call("aten.slice_copy.Tensor", g.prepack(table), 0, pos, end, 1, out=(F32, (6, 4)))
        for table in (torch.ones(16, 4), torch.zeros(16, 4))
    ]
    out = [(F32, (1, 6, heads, 8)) for heads in (2, 1)]
    g.output(*g.call("et_vk.apply_rotary_emb.default", q, k, *cut, out=out))
    rows = torch.randn(1, 4, 2, 8), torch.randn(1, 4, 1, 8)
    with g.load() as model:
        for at, left in ((14, 2), (16, 0), (1000, 0)):
            sentence = rf"only {left} rows left for 4 tokens: position \+ tokens pass .* context"
            with pytest.raises(ModelError, match=sentence):
                model.run(*rows, torch.tensor([at]))
        check_outputs(model.run(*rows, torch.tensor([12])), rows, TIGHT)


def half_split(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [B, S, H, D]; tables [S, R]; elements from R on pass through."""
    r = cos.shape[-1]
    rotated, rest = x[..., :r].float(), x[..., r:]
    turned = torch.cat([-rotated[..., r // 2 :], rotated[..., : r // 2]], -1)
    out = rotated * cos[:, None].float() + turned * sin[:, None].float()
    return torch.cat([out.to(x.dtype), rest], -1)


@pytest.mark.parametrize("seed", seeds(20))
def test_apply_rotary_emb_hf(seed: int) -> None:
    """Tables of all positions, read from a live one; part of the head may pass through."""
    rng = rng_for("rotary_hf", seed)
    batch, most, context = rng.choice((1, 1, 2)), rng.choice((1, 5, 30)), 64
    hq, hk = rng.choice(HEADS)
    rotary = rng.choice((2, 4, 16, 64, 66, 128))
    dim = rotary + rng.choice((0, 0, 1, 8))
    dtype = F16 if seed % 5 == 4 else F32
    generator = generator_for("tables", seed)
    cos, sin = (torch.rand(context, rotary, generator=generator).to(dtype) for _ in range(2))

    g = GraphBuilder()
    q = g.input(dtype, (batch, most, hq, dim))
    k = g.input(dtype, (batch, most, hk, dim))
    pos = g.input(I64, (1,))
    start = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    tables = (g.prepack(cos), g.prepack(sin))
    out = [(dtype, (batch, most, h, dim)) for h in (hq, hk)]
    g.output(*g.call("et_vk.apply_rotary_emb_hf.default", q, k, *tables, start, out=out))
    with g.load() as model:
        for s in lengths(rng, most):
            at = rng.randint(0, context - s)
            q_live, k_live = (
                torch.randn(batch, s, h, dim, generator=generator).to(dtype) for h in (hq, hk)
            )
            rows = (cos[at : at + s], sin[at : at + s])
            expected = [half_split(q_live, *rows), half_split(k_live, *rows)]
            got = model.run(q_live, k_live, torch.tensor([at]))
            check_outputs(got, expected, NORMAL, f"{s} tokens at {at}")
        with pytest.raises(ModelError, match="pass the rotary table's 64 rows"):
            model.run(q_live, k_live, torch.tensor([context - s + 1]))


def test_apply_rotary_emb_hf_at_a_fixed_position() -> None:
    check_op(
        "et_vk.apply_rotary_emb_hf.default",
        [Arg((1, 4, 4, 8)), Arg((1, 4, 2, 8)), Arg((16, 8)), Arg((16, 8))],
        lambda q, k, c, s: (half_split(q, c[3:7], s[3:7]), half_split(k, c[3:7], s[3:7])),
        args=lambda g, q, k, c, s: (q, k, c, s, 3),
        tolerance=NORMAL,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_apply_rotary_emb_interleaved(seed: int) -> None:
    rng = rng_for("rotary_interleaved", seed)
    batch, n, c = rng.choice((1, 2, 3)), rng.choice((1, 7, 30)), rng.choice((2, 8, 66, 256))
    table = ((n, c), (1, n, c // 2, 2), (n * c,))[seed % 3]
    check_op(
        "et_vk.apply_rotary_emb_interleaved.default",
        [Arg((batch, n, c)), Arg(table)],
        torch.ops.et_vk.apply_rotary_emb_interleaved,
        tolerance=TIGHT,
        key=seed,
    )
