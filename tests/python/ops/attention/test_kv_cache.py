"""Attention with and without key-value caches.

References are formulas in double precision; the wheel's own C++ operators were checked to agree:
causal, or without a mask, queries see keys [0, start + S); with a mask [S, C] they see the whole
cache plus the mask.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
import torch
from support.capi import Model
from support.cases import (
    F16,
    F32,
    HALF,
    I64,
    SUMS,
    Shape,
    check_outputs,
    generator_for,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder, Value

HEADS = ((1, 1), (2, 2), (4, 2), (9, 3), (6, 1), (8, 8))
HEAD_DIMS = (4, 8, 16, 32, 64, 80, 96, 128, 256, 5)


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None,
    mask: torch.Tensor | None = None,
    causal_from: int | None = None,
) -> torch.Tensor:
    """q [B, S, Hq, D]; k, v [B, L, Hk, D]; mask [S, L] is added; row i sees causal_from + i."""
    group = q.shape[2] // k.shape[2]
    qh = q.double().transpose(1, 2)
    kh, vh = (t.double().repeat_interleave(group, 2).transpose(1, 2) for t in (k, v))
    scores = qh @ kh.transpose(-1, -2) * (scale if scale is not None else q.shape[-1] ** -0.5)
    if mask is not None:
        scores = scores + mask.double()
    if causal_from is not None:
        rows = torch.arange(causal_from, causal_from + q.shape[1])
        scores = scores.masked_fill(torch.arange(k.shape[1])[None] > rows[:, None], -math.inf)
    return (scores.softmax(-1) @ vh).transpose(1, 2).to(q.dtype).contiguous()


@dataclass(frozen=True)
class Heads:
    """Sizes of one attention."""

    hq: int
    hk: int
    dim: int
    context: int
    most: int  # rows of q, at most
    batch: int = 1

    def q(self, s: int) -> Shape:
        return (self.batch, s, self.hq, self.dim)

    def kv(self, s: int) -> Shape:
        return (self.batch, s, self.hk, self.dim)

    @property
    def cache(self) -> Shape:
        return (self.batch, self.context, self.hk, self.dim)


def random_heads(rng: random.Random, seed: int) -> Heads:
    hq, hk = HEADS[seed % len(HEADS)]
    dim = HEAD_DIMS[seed % len(HEAD_DIMS)]
    context = rng.choice((16, 33, 64, 130, 300))
    return Heads(hq, hk, dim, context, rng.randint(1, context))


def start_of(g: GraphBuilder) -> Value:
    return g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)


def conversation(rng: random.Random, heads: Heads, turns: int) -> list[tuple[int, int]]:
    """(position, rows) of calls: a prompt, single steps, a second prompt, and back to 0."""
    calls, at = [], 0
    for turn in range(turns):
        room = heads.context - at
        if room == 0 or turn == turns // 2:
            at, room = 0, heads.context
        rows = 1 if turn % 3 == 1 else rng.randint(1, min(heads.most, room))
        calls.append((at, rows))
        at += rows
    return calls


class Replay:
    """Calls of one model, and what its caches hold by then."""

    def __init__(self, heads: Heads, *key: object, dtype: torch.dtype = F32) -> None:
        self.heads, self.dtype = heads, dtype
        self.keys, self.values = (torch.zeros(heads.cache, dtype=dtype) for _ in range(2))
        self.generator = generator_for(*key)

    def random(self, shape: Shape) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator).to(self.dtype)

    def step(
        self,
        model: Model,
        at: int,
        s: int,
        *,
        scale: float | None = None,
        causal: bool = True,
        gain: float = 1.0,
    ) -> None:
        """`s` rows at position `at`, q times `gain`."""
        q = gain * self.random(self.heads.q(s))
        k, v = (self.random(self.heads.kv(s)) for _ in range(2))
        end = at + s
        self.keys[:, at:end], self.values[:, at:end] = k, v
        seen = self.keys[:, :end], self.values[:, :end]
        expected = attention(q, *seen, scale, causal_from=at if causal else None)
        got = model.run(q, k, v, torch.tensor([at]))
        tolerance = HALF if self.dtype == F16 else SUMS
        check_outputs(got, [expected], tolerance, f"{self.heads}, {s} rows at {at}")


def cached_attention(
    heads: Heads,
    *,
    causal: bool = True,
    scale: float | None = None,
    dtype: torch.dtype = F32,
    prepacked: bool = False,
) -> GraphBuilder:
    """(q, k, v, position) -> sdpa_with_kv_cache over two caches of zeros."""
    g = GraphBuilder()
    q = g.input(dtype, heads.q(heads.most))
    k, v = (g.input(dtype, heads.kv(heads.most)) for _ in range(2))
    pos = start_of(g)
    zeros = torch.zeros(heads.cache, dtype=dtype)
    caches = [g.prepack(zeros) if prepacked else g.constant(zeros) for _ in range(2)]
    args = (q, k, v, *caches, pos, heads.most, None, 0.0, causal, scale)
    g.output(g.call("sdpa_with_kv_cache.default", *args, out=(dtype, heads.q(heads.most))))
    return g


# --- sdpa_with_kv_cache -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(48))
def test_sdpa_with_kv_cache(seed: int) -> None:
    """The cache is state: positions move on, jump back to 0, and single steps lie between."""
    rng = rng_for("sdpa_with_kv_cache", seed)
    heads = random_heads(rng, seed)
    causal = seed % 4 != 3
    scale = (None, None, 0.25)[seed % 3]
    dtype = F16 if seed % 12 == 11 else F32
    graph = cached_attention(
        heads, causal=causal, scale=scale, dtype=dtype, prepacked=seed % 2 == 0
    )
    replay = Replay(heads, "sdpa", seed, dtype=dtype)
    with graph.load() as model:
        for at, s in conversation(rng, heads, 10):
            replay.step(model, at, s, scale=scale, causal=causal)


def test_sdpa_with_kv_cache_and_a_mask() -> None:
    heads = Heads(4, 2, 16, 24, 6)
    g = GraphBuilder()
    q = g.input(F32, heads.q(6))
    k, v = (g.input(F32, heads.kv(6)) for _ in range(2))
    mask = g.input(F32, (6, 24))
    pos = start_of(g)
    caches = [g.constant(torch.zeros(heads.cache)) for _ in range(2)]
    args = (q, k, v, *caches, pos, 6, mask, 0.0, False, None)
    g.output(g.call("sdpa_with_kv_cache.default", *args, out=(F32, heads.q(6))))
    keys, values = torch.zeros(heads.cache), torch.zeros(heads.cache)
    generator = generator_for("masked")
    with g.load() as model:
        for at, s in ((0, 6), (6, 1), (7, 3), (0, 2), (18, 6)):
            q_live = torch.randn(heads.q(s), generator=generator)
            k_live, v_live = (torch.randn(heads.kv(s), generator=generator) for _ in range(2))
            mask_live = torch.randn(s, 24, generator=generator)
            mask_live[:, at + s :] = -math.inf
            keys[:, at : at + s], values[:, at : at + s] = k_live, v_live
            expected = attention(q_live, keys, values, None, mask=mask_live)
            got = model.run(q_live, k_live, v_live, mask_live, torch.tensor([at]))
            check_outputs(got, [expected], SUMS, f"{s} rows at {at}")


def test_long_context() -> None:
    """More keys than any tile, one row and many, with large scores."""
    heads = Heads(3, 1, 64, 2048, 300)
    replay = Replay(heads, "long")
    calls = [(at, 300) for at in range(0, 1800, 300)] + [(1800, 248)]
    with cached_attention(heads).load() as model:
        for at, s in [*calls, (2047, 1), (1000, 1), (1023, 1), (1024, 1), (1500, 17)]:
            replay.step(model, at, s, gain=5)


def test_caches_that_share_one_key_are_separate() -> None:
    """Two layers, four caches of identical zeros: one constant in the file, four states."""
    heads = Heads(2, 1, 8, 12, 4)
    g = GraphBuilder()
    q = g.input(F32, heads.q(4))
    k, v = (g.input(F32, heads.kv(4)) for _ in range(2))
    pos = start_of(g)
    zeros = torch.zeros(heads.cache)
    first = [g.constant(zeros) for _ in range(2)]
    second = [g.constant(zeros) for _ in range(2)]
    rest = (pos, 1, None, 0.0, True, None)
    name, out = "sdpa_with_kv_cache.default", (F32, heads.q(4))
    a = g.call(name, q, k, v, *first, *rest, out=out)
    b = g.call(name, a, v, k, *second, *rest, out=out)
    g.output(a, b)
    assert len(g.named) == 1
    caches = [zeros.clone() for _ in range(4)]
    generator = generator_for("shared")
    with g.load() as model:
        for at, s in ((0, 3), (3, 1), (4, 4), (8, 1), (0, 2), (2, 1)):
            q_live = torch.randn(heads.q(s), generator=generator)
            k_live, v_live = (torch.randn(heads.kv(s), generator=generator) for _ in range(2))
            end = at + s
            for cache, rows in zip(caches, (k_live, v_live, v_live, k_live), strict=True):
                cache[:, at:end] = rows
            live = [c[:, :end] for c in caches]
            expected_a = attention(q_live, *live[:2], None, causal_from=at)
            expected_b = attention(expected_a, *live[2:], None, causal_from=at)
            got = model.run(q_live, k_live, v_live, torch.tensor([at]))
            check_outputs(got, [expected_a, expected_b], SUMS, f"{s} rows at {at}")


def test_two_models_do_not_share_state() -> None:
    """The same program twice, interleaved, and a third loaded between the calls."""
    heads = Heads(2, 2, 8, 16, 5)
    delegate = cached_attention(heads).delegate()
    models = [delegate.load(), delegate.load()]
    replays = [Replay(heads, "interleaved", i) for i in range(3)]
    for step, (at, s) in enumerate(((0, 3), (3, 1), (4, 5), (9, 1), (0, 1), (1, 2))):
        if step == 2:
            models.append(delegate.load())
        for model, replay in zip(models, replays, strict=False):
            replay.step(model, at, s)
    for model in models:
        model.close()


# --- update_cache and custom_sdpa ---------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(24))
def test_update_cache_then_custom_sdpa(seed: int) -> None:
    rng = rng_for("custom_sdpa", seed)
    heads = random_heads(rng, seed)
    scale = (None, 0.3)[seed % 2]
    prepacked = seed % 3 == 0
    g = GraphBuilder()
    q = g.input(F32, heads.q(heads.most))
    k, v = (g.input(F32, heads.kv(heads.most)) for _ in range(2))
    pos = start_of(g)
    zeros = torch.zeros(heads.cache)
    caches = [g.prepack(zeros) if prepacked else g.constant(zeros) for _ in range(2)]
    for rows, cache in zip((k, v), caches, strict=True):
        g.call("update_cache.default", rows, cache, pos, out=(F32, (1,)))
    args = (q, *caches, pos, None, 0.0, True, scale)
    g.output(g.call("custom_sdpa.default", *args, out=(F32, heads.q(heads.most))))
    replay = Replay(heads, "custom_sdpa", seed)
    with g.load() as model:
        for at, s in conversation(rng, heads, 8):
            replay.step(model, at, s, scale=scale)


def test_custom_sdpa_at_a_fixed_position() -> None:
    heads = Heads(4, 2, 8, 16, 3)
    g = GraphBuilder()
    q = g.input(F32, heads.q(3))
    k, v = (g.input(F32, heads.cache) for _ in range(2))
    outputs = []
    for causal in (True, False):
        args = (q, k, v, 5, None, 0.0, causal, None)
        outputs.append(g.call("custom_sdpa.default", *args, out=(F32, heads.q(3))))
    g.output(*outputs)
    generator = generator_for("fixed")
    with g.load() as model:
        for s in (3, 1, 2, 3):
            q_live = torch.randn(heads.q(s), generator=generator)
            keys, values = (torch.randn(heads.cache, generator=generator) for _ in range(2))
            seen = (keys[:, : 5 + s], values[:, : 5 + s])
            expected = [
                attention(q_live, *seen, None, causal_from=5),
                attention(q_live, *seen, None),
            ]
            check_outputs(model.run(q_live, keys, values), expected, SUMS, f"{s} rows")


def test_update_cache_alone() -> None:
    """The cache is read back by another operator; what was not written stays."""
    heads = Heads(1, 2, 4, 10, 4)
    start = torch.arange(80.0).reshape(heads.cache)
    g = GraphBuilder()
    rows = g.input(F32, heads.kv(4))
    pos = start_of(g)
    cache = g.prepack(start)
    g.call("update_cache.default", rows, cache, pos, out=(F32, (1,)))
    g.output(
        g.call("aten.mul.Tensor", cache, g.constant(torch.tensor(2.0)), out=(F32, start.shape))
    )
    state = start.clone()
    with g.load() as model:
        for at, s in ((0, 4), (9, 1), (6, 4), (2, 2), (0, 1)):
            live = torch.randn(heads.kv(s), generator=generator_for(at, s))
            state[:, at : at + s] = live
            check_outputs(model.run(live, torch.tensor([at])), [2 * state], SUMS, f"{s} at {at}")


# --- et_vk.sdpa ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(36))
def test_et_vk_sdpa(seed: int) -> None:
    """q [B, H, S, D], k and v [B, H, L, D]; a mask of several forms is added; a scale or none."""
    rng = rng_for("et_vk.sdpa", seed)
    b, h = rng.choice((1, 1, 2)), rng.choice((1, 3, 8))
    dim = HEAD_DIMS[seed % len(HEAD_DIMS)]
    s, length = rng.choice((1, 4, 17, 70)), rng.choice((1, 5, 33, 150))
    scale = (None, 0.5)[seed % 2]
    kind = seed % 5  # no mask, [S, L], [1, 1, S, L], [B, H, S, L], [B, 1, 1, L]

    def mask_shape(s: int, n: int) -> Shape:
        return ((), (s, n), (1, 1, s, n), (b, h, s, n), (b, 1, 1, n))[kind]

    g = GraphBuilder()
    q = g.input(F32, (b, h, s, dim))
    k, v = (g.input(F32, (b, h, length, dim)) for _ in range(2))
    mask = g.input(F32, mask_shape(s, length)) if kind else None
    g.output(g.call("et_vk.sdpa.default", q, k, v, mask, scale, out=(F32, (b, h, s, dim))))
    generator = generator_for("et_vk.sdpa", seed)
    live = [(s, length)] + [(rng.randint(1, s), rng.randint(1, length)) for _ in range(5)]
    rng.shuffle(live)
    with g.load() as model:
        for rows, n in live:
            q_live = torch.randn(b, h, rows, dim, generator=generator)
            k_live, v_live = (torch.randn(b, h, n, dim, generator=generator) for _ in range(2))
            given = [q_live, k_live, v_live]
            if kind:
                given.append(torch.randn(mask_shape(rows, n), generator=generator))
                hidden = torch.rand(mask_shape(rows, n), generator=generator) < 0.2
                hidden[..., 0] = False
                given[-1][hidden] = -math.inf
            by_row = [t.transpose(1, 2) for t in given[:3]]
            expected = attention(*by_row, scale, mask=given[3] if kind else None).transpose(1, 2)
            where = f"[{b}, {h}, {rows}, {dim}] over {n}"
            check_outputs(model.run(*given), [expected.contiguous()], SUMS, where)


def test_attention_of_one_tensor_to_itself() -> None:
    g = GraphBuilder()
    x = g.input(F32, (1, 2, 9, 8))
    g.output(g.call("et_vk.sdpa.default", x, x, x, None, None, out=(F32, (1, 2, 9, 8))))
    with g.load() as model:
        for n in (9, 1, 4):
            live = torch.randn(1, 2, n, 8, generator=generator_for(n))
            rows = live.transpose(1, 2)
            expected = attention(rows, rows, rows, None).transpose(1, 2)
            check_outputs(model.run(live), [expected], SUMS, f"{n} rows")
