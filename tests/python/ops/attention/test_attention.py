"""Attention over KV caches and plain tensors, and cache writes, against eager torch."""

from __future__ import annotations

import math
import random

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk.*
import pytest
import torch
from support.attention import Reference, Rotary, Shape, position_input, sdpa_model
from support.capi import Model, ModelError
from support.cases import SUMS, Tolerance, check_outputs, generator_for, rng_for, seeds
from support.delegate import GraphBuilder
from support.options import option

F32 = torch.float32
HEADS = ((9, 3), (4, 4), (8, 1), (32, 8), (6, 2), (5, 1))
HEAD_DIMS = (8, 16, 40, 64, 72, 96, 128, 256, 1, 5, 30, 33)


def _random(generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


def run_steps(model: Model, shape: Shape, steps: list[tuple[int, int]], key: object) -> None:
    """Each step is (position, tokens); the caches carry over."""
    generator = generator_for(key)
    reference = Reference(shape)
    for position, tokens in steps:
        q = _random(generator, shape.q(tokens))
        k, v = (_random(generator, shape.kv(tokens)) for _ in range(2))
        (got,) = model.run(torch.tensor([position]), q, k, v)
        reference.write(k, v, position)
        expected = reference.attend(q, position, causal=True)
        check_outputs([got], [expected], SUMS, f"{shape}, {tokens} tokens at {position}")


def random_steps(rng: random.Random, shape: Shape, count: int) -> list[tuple[int, int]]:
    steps = []
    for _ in range(count):
        tokens = rng.choice((1, 1, 1, 2, 3, 4, 5, rng.randint(1, shape.tokens), shape.tokens))
        tokens = min(tokens, shape.tokens)
        steps.append((rng.choice((0, rng.randint(0, shape.capacity - tokens))), tokens))
    return steps


@pytest.mark.parametrize("seed", seeds(60))
def test_sdpa_with_kv_cache(seed: int) -> None:
    rng = rng_for("sdpa", seed)
    heads, kv_heads = HEADS[seed % len(HEADS)]
    head_dim = HEAD_DIMS[seed % len(HEAD_DIMS)]
    capacity = rng.choice((17, 40, 64, 130, 300))
    tokens = min(capacity, rng.choice((1, 3, 16, 17, 63, 128)))
    shape = Shape(heads, kv_heads, head_dim, capacity, tokens)
    with sdpa_model(shape) as model:
        run_steps(model, shape, random_steps(rng, shape, 6), seed)


def test_smollm2_sizes_in_order() -> None:
    """Prefill, decode, append, go back: positions change without a new plan."""
    shape = Shape(9, 3, 64, 2048, 511)
    steps = [(0, 128), (128, 1), (129, 1), (130, 16), (146, 1), (511, 511), (2047, 1), (0, 3)]
    with sdpa_model(shape) as model:
        run_steps(model, shape, steps, "smollm2")


@pytest.mark.parametrize("scale", [0.3, -0.2, 0.0])
def test_scale(scale: float) -> None:
    shape = Shape(4, 2, 16, 32, 5)
    generator = generator_for("scale", scale)
    with sdpa_model(shape, scale=scale) as model:
        for tokens in (5, 1):
            q = _random(generator, shape.q(tokens))
            k, v = (_random(generator, shape.kv(tokens)) for _ in range(2))
            (got,) = model.run(torch.tensor([2]), q, k, v)
            reference = Reference(shape)
            reference.write(k, v, 2)
            # Rows 0 and 1 keep what the step before wrote: nothing, then nothing.
            expected = reference.attend(q, 2, causal=True, scale=scale)
            if tokens == 5:
                check_outputs([got], [expected], SUMS)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("tokens", [1, 4, 20])
def test_large_scores(causal: bool, tokens: int) -> None:
    """Scores far beyond what exp() takes."""
    shape = Shape(4, 4, 32, 64, tokens)
    generator = generator_for("large", tokens)
    with sdpa_model(shape, causal=causal) as model:
        q = _random(generator, shape.q(tokens)) * 100
        k, v = (_random(generator, shape.kv(tokens)) for _ in range(2))
        (got,) = model.run(torch.tensor([0]), q, k, v)
    reference = Reference(shape)
    reference.write(k, v, 0)
    check_outputs([got], [reference.attend(q, 0, causal)], SUMS)


@pytest.mark.parametrize("seed", seeds(16))
def test_constant_position_mask_and_cache_inputs(seed: int) -> None:
    """The caches as mutated inputs, the position as an Int, with and without a mask."""
    rng = rng_for("masked", seed)
    generator = generator_for("masked", seed)
    heads, kv_heads = rng.choice(HEADS)
    shape = Shape(heads, kv_heads, rng.choice((8, 20, 64, 7)), 24, rng.choice((1, 2, 9)))
    position = rng.randint(0, shape.capacity - shape.tokens)
    mask_shape = rng.choice((None, (shape.tokens, shape.capacity)))
    g = GraphBuilder()
    q, k, v = (g.input(F32, s(shape.tokens)) for s in (shape.q, shape.kv, shape.kv))
    caches = [g.input(F32, shape.kv(shape.capacity)) for _ in range(2)]
    mask = None if mask_shape is None else g.input(F32, mask_shape)
    causal = mask is None and rng.random() < 0.5
    args = (q, k, v, *caches, position, shape.tokens, mask, 0.0, causal, None)
    out = g.call("sdpa_with_kv_cache.default", *args, out=(F32, shape.q(shape.tokens)))
    g.output(out, *caches)

    reference = Reference(shape)
    reference.k.copy_(_random(generator, shape.kv(shape.capacity)))
    reference.v.copy_(_random(generator, shape.kv(shape.capacity)))
    inputs = [_random(generator, s(shape.tokens)) for s in (shape.q, shape.kv, shape.kv)]
    inputs += [reference.k.float(), reference.v.float()]
    given = None
    if mask_shape is not None:
        given = _random(generator, mask_shape)
        given = given.masked_fill(torch.rand(mask_shape, generator=generator) < 0.3, -math.inf)
        given[:, 0] = 0.0
        inputs.append(given)
    with g.load() as model:
        got = model.run(*inputs)
    reference.write(inputs[1], inputs[2], position)
    expected = reference.attend(inputs[0], position, causal, given)
    check_outputs(got, [expected, reference.k.float(), reference.v.float()], SUMS, str(shape))


@pytest.mark.parametrize("seed", seeds(10))
def test_custom_sdpa_and_update_cache(seed: int) -> None:
    """The unfused pair, over a cache that also goes out."""
    rng = rng_for("custom", seed)
    generator = generator_for("custom", seed)
    heads, kv_heads = rng.choice(HEADS)
    shape = Shape(heads, kv_heads, rng.choice((8, 20, 64, 7)), 40, 12)
    g = GraphBuilder()
    position = position_input(g)
    q, k, v = (g.input(F32, s(shape.tokens)) for s in (shape.q, shape.kv, shape.kv))
    caches = [g.prepack(torch.zeros(shape.kv(shape.capacity))) for _ in range(2)]
    for value, cache in zip((k, v), caches, strict=True):
        g.call("update_cache.default", value, cache, position, out=(F32, (1,)))
    args = (q, *caches, position, None, 0.0, True, None)
    g.output(g.call("custom_sdpa.default", *args, out=(F32, shape.q(shape.tokens))))
    g.output(g.call("aten.mul.Tensor", caches[0], 2.0, out=(F32, shape.kv(shape.capacity))))
    reference = Reference(shape)
    with g.load() as model:
        for start, tokens in random_steps(rng, shape, 4):
            inputs = [_random(generator, s(tokens)) for s in (shape.q, shape.kv, shape.kv)]
            got = model.run(torch.tensor([start]), *inputs)
            reference.write(inputs[1], inputs[2], start)
            expected = reference.attend(inputs[0], start, causal=True)
            check_outputs(got, [expected, (2 * reference.k).float()], SUMS, str(shape))


def test_position_past_the_cache() -> None:
    shape = Shape(4, 2, 8, 24, 16)
    with sdpa_model(shape) as model:
        step = [torch.zeros(s(16)) for s in (shape.q, shape.kv, shape.kv)]
        with pytest.raises(ModelError, match=r"position 9 \+ 16 tokens pass the cache's 24"):
            model.run(torch.tensor([9]), *step)
        with pytest.raises(ModelError, match="position -1"):
            model.run(torch.tensor([-1]), *step)
        run_steps(model, shape, [(8, 16), (0, 3)], "after errors")


# --- et_vk.sdpa ---


def _plain(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    scores = q.double() @ k.double().transpose(-2, -1) * scale
    if mask is not None:
        scores = scores + mask.double()
    return (scores.softmax(-1) @ v.double()).float()


@pytest.mark.parametrize("seed", seeds(40))
def test_plain_sdpa(seed: int) -> None:
    rng = rng_for("plain", seed)
    generator = generator_for("plain", seed)
    rank = rng.choice((3, 4, 4, 4))
    lead = tuple(rng.randint(1, 4) for _ in range(rank - 2))
    queries, keys = rng.choice(((1, 9), (8, 8), (4, 16), (17, 33), (65, 65), (130, 70), (2, 1)))
    head_dim = rng.choice(HEAD_DIMS)
    value_dim = rng.choice((head_dim, head_dim, head_dim, 12, 7))
    kv_lead = tuple(1 if rng.random() < 0.2 else n for n in lead)
    shapes = [(*lead, queries, head_dim), (*kv_lead, keys, head_dim), (*kv_lead, keys, value_dim)]
    mask_shape = rng.choice(
        (
            None,
            (*lead, queries, keys),
            (queries, keys),
            (*(1 for _ in lead), queries, keys),
            (keys,),
        )
    )
    scale = rng.choice((None, 0.2))
    g = GraphBuilder()
    q, k, v = (g.input(F32, s) for s in shapes)
    mask = None if mask_shape is None else g.input(F32, mask_shape)
    out = (F32, (*lead, queries, value_dim))
    g.output(g.call("et_vk.sdpa.default", q, k, v, mask, scale, out=out))
    inputs = [_random(generator, s) for s in shapes]
    if mask_shape is not None:
        inputs.append(_random(generator, mask_shape))
    with g.load() as model:
        got = model.run(*inputs)
    expected = _plain(
        *inputs[:3],
        inputs[3] if mask_shape is not None else None,
        1 / math.sqrt(head_dim) if scale is None else scale,
    )
    check_outputs(got, [expected], SUMS, f"{shapes}, mask {mask_shape}")


@pytest.mark.parametrize("queries", [1, 20])
@pytest.mark.parametrize("lowest", [-math.inf, torch.finfo(F32).min])
def test_fully_masked_rows(queries: int, lowest: float) -> None:
    """As torch: NaN under -inf everywhere, the mean under the lowest finite number."""
    generator = generator_for("fully masked")
    shapes = [(1, 2, queries, 8), (1, 2, 30, 8), (1, 2, 30, 8)]
    inputs = [_random(generator, s) for s in shapes]
    mask = torch.zeros(queries, 30)
    mask[0] = lowest
    mask[-1, 3:] = lowest
    mask[0] = lowest
    g = GraphBuilder()
    q, k, v = (g.input(F32, s) for s in shapes)
    m = g.input(F32, mask.shape)
    g.output(g.call("et_vk.sdpa.default", q, k, v, m, None, out=(F32, shapes[0])))
    with g.load() as model:
        got = model.run(*inputs, mask)
    scores = inputs[0] @ inputs[1].transpose(-2, -1) / math.sqrt(8) + mask
    check_outputs(got, [scores.softmax(-1) @ inputs[2]], SUMS)


# --- With a rotary embedding before it ---


def _check_rotary_steps(
    rotary: Rotary, shape: Shape, steps: list[tuple[int, int]], tolerance: Tolerance, half: bool
) -> None:
    generator = generator_for("rotary", str(shape))
    reference = Reference(shape)
    with rotary.model(shape) as model:
        for position, tokens in steps:
            q = _random(generator, shape.q(tokens))
            k, v = (_random(generator, shape.kv(tokens)) for _ in range(2))
            cos, sin = (_random(generator, rotary.table(shape, tokens)) for _ in range(2))
            (got,) = model.run(torch.tensor([position]), q, k, v, cos, sin)
            q, k = rotary(q, k, cos, sin, position)
            if half:
                k, v = k.half().float(), v.half().float()
            reference.write(k, v, position)
            expected = reference.attend(q, position, causal=True)
            check_outputs([got], [expected], tolerance, f"{shape}, {tokens} tokens at {position}")
            kernels = [d["kernel"].split("[")[0] for d in model.profile()["dispatches"]]
            assert "rotary" not in kernels and "cache_update" not in kernels, kernels
            assert len(kernels) <= 3, kernels


@pytest.mark.parametrize("cache", ["f32", "f16"])
@pytest.mark.parametrize("seed", seeds(20))
def test_rotary_then_attention(cache: str, seed: int) -> None:
    rng = rng_for("rotary attention", seed)
    heads, kv_heads = HEADS[seed % len(HEADS)]
    head_dim = rng.choice((8, 40, 64, 30, 128, 6))
    rotary = Rotary(rng.choice((None, head_dim, max(2, head_dim // 4 * 2))))
    tokens = rng.choice((1, 3, 17))
    shape = Shape(heads, kv_heads, head_dim, rng.choice((40, 130)), tokens, rng.choice((1, 1, 2)))
    steps = [*random_steps(rng, shape, 3), (rng.randint(0, shape.capacity - 1), 1), (0, 1)]
    with option("kv_cache_dtype", cache):
        _check_rotary_steps(rotary, shape, steps, SUMS, half=cache == "f16")


def test_rotary_outputs_read_elsewhere_stay() -> None:
    """An embedding whose k also goes out is not fused away."""
    shape = Shape(4, 2, 8, 24, 5)
    g = GraphBuilder()
    q, k, v = (g.input(F32, s(5)) for s in (shape.q, shape.kv, shape.kv))
    cos, sin = (g.input(F32, (5, 4)) for _ in range(2))
    caches = [g.constant(torch.zeros(shape.kv(24))) for _ in range(2)]
    out = [(F32, shape.q(5)), (F32, shape.kv(5))]
    rq, rk = g.call("et_vk.apply_rotary_emb.default", q, k, cos, sin, out=out)
    args = (rq, rk, v, *caches, 3, 1, None, 0.0, True, None)
    g.output(g.call("sdpa_with_kv_cache.default", *args, out=(F32, shape.q(5))), rk)
    generator = generator_for("stay")
    inputs = [_random(generator, s) for s in (shape.q(5), shape.kv(5), shape.kv(5), (5, 4), (5, 4))]
    with g.load() as model:
        got = model.run(*inputs)
    eq, ek = torch.ops.et_vk.apply_rotary_emb(inputs[0], inputs[1], *inputs[3:])
    reference = Reference(shape)
    reference.write(ek, inputs[2], 3)
    check_outputs(got, [reference.attend(eq, 3, causal=True), ek], SUMS)
