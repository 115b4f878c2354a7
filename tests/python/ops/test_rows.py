"""Reductions, softmax and normalization."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::rms_norm
import pytest
import torch
import torch.nn.functional as F
from support.cases import (
    EXACT,
    F16,
    F32,
    NORMAL,
    SUMS,
    Arg,
    Shape,
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


def _rows(rng: random.Random) -> Shape:
    """Sizes whose last dimension may be long, odd or 1."""
    lead = random_shape(rng, rng.randint(0, 3), most=6, elements=60)
    return (*lead, rng.choice((1, 2, 3, 8, 17, 64, 100, 255, 256, 576, 1000)))


# --- Reductions ----------------------------------------------------------------------------------


REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
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
        tolerance=EXACT if "am" in name else SUMS,
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


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("bound", [(3, 4099), (4099, 3), (70001, 3), (1, 300000)])
def test_reduction_of_long_rows_and_of_many(name: str, bound: tuple[int, int]) -> None:
    extra = [] if "am" in name else [None]
    for dim in (0, 1):
        check_op(
            name,
            [Arg(bound)],
            lambda x, dim=dim: REDUCTIONS[name](x.double(), [dim], True).float(),
            args=lambda g, x, dim=dim: (x, [dim], True, *extra),
            live=[[bound], [(1, 3)], [bound]],
            tolerance=EXACT if "am" in name else SUMS,
        )


def test_arg_reduction_of_a_long_row() -> None:
    """A vocabulary's logits."""
    check_op(
        "aten.argmax.default",
        [Arg((3, 49152))],
        lambda x: x.argmax(-1),
        args=lambda g, x: (x, -1, False),
        live=[[(n, 49152)] for n in (3, 1, 2)],
    )


# --- Softmax -------------------------------------------------------------------------------------


SOFTMAX = {"aten._softmax.default": torch.softmax, "aten._log_softmax.default": torch.log_softmax}


@pytest.mark.parametrize("seed", seeds(60))
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name: str, seed: int) -> None:
    rng = rng_for(name, seed)
    shape = _rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 4))
    dim = rng.randint(-len(shape), len(shape) - 1) if shape else 0
    big = rng.choice((1.0, 30.0, 300.0))
    check_op(
        name,
        [Arg(shape, rng.choice((F32, F32, F16)), low=-big, high=big)],
        lambda x: SOFTMAX[name](x, dim),
        args=lambda g, x: (x, dim, False),
        live=[[s] for s in live_shapes(rng, shape, subset(rng, len(shape)))],
        tolerance=SUMS,
        key=seed,
    )


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_of_minus_infinity(name: str, rows: int) -> None:
    """Masked elements have no weight; a row of nothing else is NaN."""
    x = torch.randn(rows, 70)
    x[:, ::3] = -math.inf
    x[1] = -math.inf
    g = GraphBuilder()
    v = g.input(F32, x.shape)
    g.output(g.call(name, v, -1, False, out=(F32, x.shape)))
    with g.load() as model:
        got = model.run(x)
    check_outputs(got, [SOFTMAX[name](x, -1)], SUMS)


@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_of_long_rows_and_of_many(name: str) -> None:
    for bound in ((2, 5003), (5003, 2), (66000, 3)):
        for dim in (0, 1):
            check_op(
                name,
                [Arg(bound)],
                lambda x, dim=dim: SOFTMAX[name](x, dim),
                args=lambda g, x, dim=dim: (x, dim, False),
                tolerance=NORMAL,
            )


# --- Normalization ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(24))
def test_rms_norm(seed: int) -> None:
    rng = rng_for("rms_norm", seed)
    width = rng.choice((1, 3, 64, 127, 576, 1000, 2048))
    bound = (*random_shape(rng, rng.randint(0, 3), elements=32), width)
    eps = rng.choice((1e-5, 1e-6, 0.1))
    dtype = (F32, F32, F16)[seed % 3]
    check_op(
        "et_vk.rms_norm.default",
        [Arg(bound, dtype), Arg((width,), dtype, constant=seed % 4 != 3)],
        lambda x, w: torch.ops.et_vk.rms_norm(x, w, eps),
        args=lambda g, x, w: (x, w, eps),
        live=[[s, (width,)] for s in live_shapes(rng, bound, subset(rng, len(bound) - 1))],
        tolerance=NORMAL,
        key=seed,
    )


def test_rms_norm_of_many_rows() -> None:
    check_op(
        "et_vk.rms_norm.default",
        [Arg((66001, 8)), Arg((8,), constant=True)],
        lambda x, w: torch.ops.et_vk.rms_norm(x, w, 1e-5),
        args=lambda g, x, w: (x, w, 1e-5),
        live=[[(n, 8), (8,)] for n in (66001, 1, 66001)],
    )


@pytest.mark.parametrize("value", [0.0, 1e-4, 1e4])
def test_rms_norm_of_small_and_large_rows(value: float) -> None:
    check_op(
        "et_vk.rms_norm.default",
        [Arg((3, 96), low=value / 2, high=value), Arg((96,), constant=True)],
        lambda x, w: torch.ops.et_vk.rms_norm(x, w, 1e-5),
        args=lambda g, x, w: (x, w, 1e-5),
    )


@pytest.mark.parametrize("seed", seeds(16))
def test_native_layer_norm(seed: int) -> None:
    rng = rng_for("layer_norm", seed)
    inner = random_shape(rng, rng.choice((1, 1, 2)), most=65, elements=1024)
    bound = (*random_shape(rng, rng.randint(0, 3), elements=32), *inner)
    weight, bias = seed % 2 == 0, seed % 3 != 0
    arguments = [Arg(bound)] + [Arg(inner, constant=True)] * (weight + bias)
    outer = len(bound) - len(inner)

    def parts(x: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        w = rest[0] if weight else None
        b = rest[-1] if bias else None
        return w, b

    check_op(
        "aten.native_layer_norm.default",
        arguments,
        lambda x, *rest: tuple(torch.native_layer_norm(x, inner, *parts(x, *rest), 1e-5)),
        args=lambda g, x, *rest: (x, list(inner), *parts(x, *rest), 1e-5),
        live=[[s, *[inner] * (weight + bias)] for s in live_shapes(rng, bound, subset(rng, outer))],
        tolerance=SUMS,
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


def test_layer_norm_of_a_large_mean() -> None:
    """The variance must not be the difference of two large numbers."""
    check_op(
        "aten.native_layer_norm.default",
        [Arg((4, 300), low=999, high=1001)],
        lambda x: tuple(torch.native_layer_norm(x, (300,), None, None, 1e-5)),
        args=lambda g, x: (x, [300], None, None, 1e-5),
        tolerance=NORMAL.__class__(1e-3, 1e-3),
    )


def test_silu_and_swiglu_chain() -> None:
    """silu(gate) * up as it arrives: sigmoid, mul, mul; live rows in any order."""
    g = GraphBuilder()
    gate, up = g.input(F32, (40, 24)), g.input(F32, (40, 24))
    shape = (F32, (40, 24))
    s = g.call("aten.sigmoid.default", gate, out=shape)
    silu = g.call("aten.mul.Tensor", gate, s, out=shape)
    g.output(g.call("aten.mul.Tensor", silu, up, out=shape))
    with g.load() as model:
        for rows in (40, 1, 7, 40, 2, 33):
            a, b = (torch.randn(rows, 24, generator=generator_for(rows, i)) for i in (0, 1))
            check_outputs(model.run(a, b), [F.silu(a) * b], NORMAL, f"{rows} rows")
