"""Norms, rotary embeddings, softmax and reductions against eager torch."""

from __future__ import annotations

import math
import random
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk.*
import pytest
import torch
import torch.nn.functional as F
from support.capi import ModelError
from support.cases import (
    NORMAL,
    SUMS,
    Arg,
    check_op,
    check_outputs,
    generator_for,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    subset,
)
from support.delegate import GraphBuilder

F32 = torch.float32
F16 = torch.float16


def _rows(rng: random.Random) -> tuple[int, ...]:
    """Sizes whose last dimension may be long, odd or 1."""
    lead = random_shape(rng, rng.randint(0, 3), most=6, elements=60)
    return (*lead, rng.choice((1, 2, 3, 8, 17, 64, 100, 255, 256, 576, 1000)))


# --- Norms ---


@pytest.mark.parametrize("seed", seeds(40))
def test_rms_norm(seed: int) -> None:
    rng = rng_for("rms_norm", seed)
    shape, dtype = _rows(rng), rng.choice((F32, F32, F16))
    live = [
        [s, (shape[-1],)]
        for s in live_shapes(rng, shape, [d for d in subset(rng, len(shape)) if d < len(shape) - 1])
    ]
    check_op(
        "et_vk.rms_norm.default",
        [Arg(shape, dtype), Arg((shape[-1],), dtype, constant=rng.random() < 0.7)],
        lambda x, w: torch.ops.et_vk.rms_norm(x, w, 1e-5),
        args=lambda g, x, w: (x, w, 1e-5),
        live=live,
        tolerance=NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(40))
def test_layer_norm(seed: int) -> None:
    rng = rng_for("layer_norm", seed)
    shape = _rows(rng)
    count = rng.randint(1, min(2, len(shape)))
    normalized = shape[-count:]
    weight, bias = rng.choice(((1, 1), (1, 0), (0, 0)))
    arguments = [Arg(shape)] + [Arg(normalized, constant=True) for _ in range(weight + bias)]

    def reference(x: torch.Tensor, *affine: torch.Tensor) -> Any:
        w = affine[0] if weight else None
        b = affine[-1] if bias else None
        return torch.native_layer_norm(x, normalized, w, b, 1e-5)

    def args(g: GraphBuilder, x: Any, *affine: Any) -> Any:
        w = affine[0] if weight else None
        b = affine[-1] if bias else None
        return (x, list(normalized), w, b, 1e-5)

    dims = [d for d in subset(rng, len(shape)) if d < len(shape) - count]
    live = [[s] + [normalized] * (weight + bias) for s in live_shapes(rng, shape, dims)]
    check_op(
        "aten.native_layer_norm.default",
        arguments,
        reference,
        args=args,
        live=live,
        tolerance=SUMS if shape[-1] > 2 else NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(16))
def test_group_norm(seed: int) -> None:
    rng = rng_for("group_norm", seed)
    groups = rng.randint(1, 4)
    channels = groups * rng.randint(1, 4)
    shape = (rng.randint(1, 3), channels, *random_shape(rng, rng.randint(1, 2)))
    inner = math.prod(shape[2:])
    affine = rng.random() < 0.7

    def reference(x: torch.Tensor, *wb: torch.Tensor) -> Any:
        w, b = wb or (None, None)
        return torch.native_group_norm(x, w, b, shape[0], channels, inner, groups, 1e-5)

    def args(g: GraphBuilder, x: Any, *wb: Any) -> Any:
        w, b = wb or (None, None)
        return (x, w, b, shape[0], channels, inner, groups, 1e-5)

    check_op(
        "aten.native_group_norm.default",
        [Arg(shape)] + [Arg((channels,), constant=True)] * (2 if affine else 0),
        reference,
        args=args,
        tolerance=SUMS if inner * channels // groups > 2 else NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_batch_norm(seed: int) -> None:
    rng = rng_for("batch_norm", seed)
    shape = random_shape(rng, rng.randint(2, 4))
    channel = Arg((shape[1],), constant=True)
    affine = rng.random() < 0.7

    def reference(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, *wb: torch.Tensor) -> Any:
        w, b = wb or (None, None)
        out = F.batch_norm(x, mean, var, w, b, False, 0.1, 1e-5)
        return out, torch.empty(0), torch.empty(0)

    check_op(
        "aten._native_batch_norm_legit_no_training.default",
        [Arg(shape), channel, Arg((shape[1],), low=0.1, constant=True)]
        + [channel] * (2 if affine else 0),
        reference,
        args=lambda g, x, m, v, *wb: (x, *(wb or (None, None)), m, v, 0.1, 1e-5),
        tolerance=NORMAL,
        key=seed,
    )


# --- Rotary embeddings ---


@pytest.mark.parametrize("seed", seeds(24))
def test_rotary(seed: int) -> None:
    rng = rng_for("rotary", seed)
    batch, tokens, half = rng.randint(1, 2), rng.choice((1, 2, 17)), rng.choice((1, 4, 16, 32, 33))
    by_head = rng.random() < 0.2
    heads = rng.choice((1, 4, 9))
    kv_heads = heads if by_head else rng.choice((1, 2, 3))
    table = (tokens, heads, half) if by_head else (tokens, half)
    shapes = [(batch, tokens, heads, 2 * half), (batch, tokens, kv_heads, 2 * half), table, table]

    def at(s: int) -> list[tuple[int, ...]]:
        return [
            (batch, s, *shapes[0][2:]),
            (batch, s, *shapes[1][2:]),
            (s, *table[1:]),
            (s, *table[1:]),
        ]

    check_op(
        "et_vk.apply_rotary_emb.default",
        [Arg(s) for s in shapes],
        torch.ops.et_vk.apply_rotary_emb,
        live=[at(rng.randint(1, tokens)) for _ in range(3)] + [at(tokens)],
        tolerance=NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(24))
def test_rotary_halves(seed: int) -> None:
    """Partial rotation, and a position that is live."""
    rng = rng_for("rotary_hf", seed)
    batch, tokens, capacity = rng.randint(1, 2), rng.choice((1, 2, 9)), 20
    rotated = 2 * rng.choice((1, 4, 16, 33))
    head_dim = rotated + rng.choice((0, 0, 1, 8))
    shapes = [(batch, tokens, rng.choice((1, 9)), head_dim), (batch, tokens, 3, head_dim)]
    g = GraphBuilder()
    position = g.symint("et_vk.select_as_symint.default", g.input(torch.int64, (1,)), 0, 0)
    q, k = (g.input(F32, s) for s in shapes)
    cos, sin = (g.input(F32, (capacity, rotated)) for _ in range(2))
    args = (q, k, cos, sin, position)
    g.output(*g.call("et_vk.apply_rotary_emb_hf.default", *args, out=[(F32, s) for s in shapes]))
    generator = generator_for(seed)
    with g.load() as model:
        for start in (0, rng.randint(0, capacity - tokens), capacity - tokens):
            inputs = [torch.randn(s, generator=generator) for s in shapes]
            inputs += [torch.randn(capacity, rotated, generator=generator) for _ in range(2)]
            got = model.run(torch.tensor([start]), *inputs)
            expected = torch.ops.et_vk.apply_rotary_emb_hf(*inputs, start)
            check_outputs(got, expected, NORMAL)
        with pytest.raises(ModelError, match="pass the rotary table's 20 rows"):
            model.run(torch.tensor([capacity - tokens + 1]), *inputs)


@pytest.mark.parametrize("seed", seeds(8))
def test_rotary_interleaved(seed: int) -> None:
    rng = rng_for("rotary_interleaved", seed)
    batch, tokens, half = rng.randint(1, 3), rng.randint(1, 7), rng.randint(1, 9)
    freqs = rng.choice(((tokens, 2 * half), (1, tokens, half, 2)))
    check_op(
        "et_vk.apply_rotary_emb_interleaved.default",
        [Arg((batch, tokens, 2 * half)), Arg(freqs)],
        torch.ops.et_vk.apply_rotary_emb_interleaved,
        tolerance=NORMAL,
        key=seed,
    )


# --- Softmax ---


@pytest.mark.parametrize("seed", seeds(60))
@pytest.mark.parametrize("log", [False, True])
def test_softmax(log: bool, seed: int) -> None:
    rng = rng_for("softmax", seed)
    shape = _rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 4))
    dim = rng.randint(-len(shape), len(shape) - 1) if shape else 0
    big = rng.choice((2.0, 2.0, 200.0))
    check_op(
        "aten._log_softmax.default" if log else "aten._softmax.default",
        [Arg(shape, rng.choice((F32, F32, F16)), low=-big, high=big)],
        lambda x: (torch.log_softmax if log else torch.softmax)(x, dim),
        args=lambda g, x: (x, dim, False),
        live=[[s] for s in live_shapes(rng, shape, subset(rng, len(shape)))],
        tolerance=SUMS,
        key=seed,
    )


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("log", [False, True])
def test_softmax_of_minus_infinity(log: bool, rows: int) -> None:
    """Masked elements have no weight; a row of nothing else is NaN."""
    x = torch.randn(rows, 70)
    x[:, ::3] = -math.inf
    x[1] = -math.inf
    name = "aten._log_softmax.default" if log else "aten._softmax.default"
    g = GraphBuilder()
    v = g.input(F32, x.shape)
    g.output(g.call(name, v, -1, False, out=(F32, x.shape)))
    with g.load() as model:
        got = model.run(x)
    check_outputs(got, [(torch.log_softmax if log else torch.softmax)(x, -1)], SUMS)


# --- Reductions ---

REDUCTIONS = {
    "aten.mean.dim": lambda x, d, k: x.mean(d, keepdim=k),
    "aten.sum.dim_IntList": lambda x, d, k: x.sum(d, keepdim=k),
    "aten.amax.default": lambda x, d, k: x.amax(d or (), keepdim=k),
    "aten.amin.default": lambda x, d, k: x.amin(d or (), keepdim=k),
}


@pytest.mark.parametrize("seed", seeds(40))
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, seed: int) -> None:
    rng = rng_for(name, seed)
    shape = _rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 5))
    dims = [d - rng.choice((0, len(shape))) for d in range(len(shape)) if rng.random() < 0.5]
    keep = rng.random() < 0.6
    extra = () if "am" in name else (None,)
    check_op(
        name,
        [Arg(shape, rng.choice((F32, F32, F16)))],
        lambda x: REDUCTIONS[name](x, dims, keep),
        args=lambda g, x: (x, dims, keep, *extra),
        live=[[s] for s in live_shapes(rng, shape, subset(rng, len(shape)))],
        tolerance=SUMS,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(30))
@pytest.mark.parametrize("largest", [True, False])
def test_position_of_extreme(largest: bool, seed: int) -> None:
    """Of few distinct values: the first of equals counts."""
    rng = rng_for("argmax", largest, seed)
    shape = _rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 4))
    dim = rng.choice((None, rng.randint(-len(shape), len(shape) - 1))) if shape else None
    keep = rng.random() < 0.5
    function = torch.argmax if largest else torch.argmin
    check_op(
        "aten.argmax.default" if largest else "aten.argmin.default",
        [Arg(shape)],
        lambda x: function((3 * x).round(), dim, keepdim=keep),
        args=lambda g, x: (
            g.call(
                "aten.round.default",
                g.call("aten.mul.Tensor", x, 3.0, out=(F32, shape)),
                out=(F32, shape),
            ),
            dim,
            keep,
        ),
        live=[[s] for s in live_shapes(rng, shape, subset(rng, len(shape)))],
        key=seed,
    )


@pytest.mark.parametrize("name", ["aten.amax.default", "aten.amin.default"])
@pytest.mark.parametrize("shape", [(3, 100), (40, 5)])
def test_nan_is_an_extreme(name: str, shape: tuple[int, int]) -> None:
    x = torch.randn(shape)
    x[1, 3] = math.nan
    g = GraphBuilder()
    v = g.input(F32, shape)
    g.output(g.call(name, v, [-1], True, out=(F32, (shape[0], 1))))
    with g.load() as model:
        got = model.run(x)
    check_outputs(got, [REDUCTIONS[name](x, [-1], True)], SUMS)
