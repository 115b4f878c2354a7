"""Reductions, softmax and normalization."""

from __future__ import annotations

import math
from collections.abc import Callable

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

REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "aten.mean.dim": torch.mean,
    "aten.sum.dim_IntList": torch.sum,
    "aten.amax.default": torch.amax,
    "aten.amin.default": torch.amin,
}


@pytest.mark.parametrize("seed", seeds(16))
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, seed: int) -> None:
    """Over one or more dimensions, live ones among them."""
    rng = rng_for(name, seed)
    rank = rng.randint(1, 5)
    bound = random_shape(rng, rank, elements=2048)
    dims = rng.sample(range(rank), rng.randint(1, min(rank, 3)))
    written = [d - rank if rng.random() < 0.5 else d for d in dims]
    keepdim = rng.random() < 0.5
    dtype = (F32, F32, F16)[seed % 3]
    extra = [] if "am" in name else [None]
    check_op(
        name,
        [Arg(bound, dtype)],
        lambda x: REDUCTIONS[name](x, dim=dims, keepdim=keepdim),
        args=lambda g, x: (x, written, keepdim, *extra),
        live=[[s] for s in live_shapes(rng, bound, subset(rng, rank))],
        tolerance=EXACT if "am" in name else NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("bound", [(3, 4099), (4099, 3), (70001, 3), (1, 300000)])
def test_reduction_of_long_rows_and_of_many(name: str, bound: tuple[int, int]) -> None:
    extra = [] if "am" in name else [None]
    for dim in (0, 1):
        check_op(
            name,
            [Arg(bound)],
            lambda x, dim=dim: REDUCTIONS[name](x.double(), dim=[dim], keepdim=True).to(
                torch.float32
            ),
            args=lambda g, x, dim=dim: (x, [dim], True, *extra),
            live=[[bound], [(1, 3)], [bound]],
            tolerance=EXACT if "am" in name else SUMS,
        )


@pytest.mark.parametrize("seed", seeds(16))
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_arg_reduction(name: str, seed: int) -> None:
    """Few distinct values, so that ties are common: the first wins, as in torch on the CPU."""
    rng = rng_for(name, seed)
    rank = rng.randint(1, 5)
    bound = random_shape(rng, rank, elements=2048)
    dim = rng.randint(0, rank - 1)
    keepdim = seed % 2 == 0
    check_op(
        f"aten.{name}.default",
        [Arg(bound, torch.int32, -2, 2)] if seed % 3 else [Arg(bound)],
        lambda x: getattr(torch, name)(x.float(), dim, keepdim),
        args=lambda g, x: (
            x
            if seed % 3 == 0
            else g.call("aten._to_copy.default", x, *[None] * 4, False, None, out=(F32, bound)),
            dim - rank if seed % 4 == 1 else dim,
            keepdim,
        ),
        live=[[s] for s in live_shapes(rng, bound, subset(rng, rank))],
        key=seed,
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


SOFTMAX = {"aten._softmax.default": torch.softmax, "aten._log_softmax.default": torch.log_softmax}


@pytest.mark.parametrize("seed", seeds(20))
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name: str, seed: int) -> None:
    rng = rng_for(name, seed)
    rank = rng.randint(1, 4)
    bound = random_shape(rng, rank, most=33, elements=4096)
    dim = rng.randint(-rank, rank - 1)
    span = rng.choice((1.0, 30.0, 300.0))
    dtype = (F32, F32, F16)[seed % 3]
    check_op(
        name,
        [Arg(bound, dtype, -span, span)],
        lambda x: SOFTMAX[name](x, dim),
        args=lambda g, x: (x, dim, False),
        live=[[s] for s in live_shapes(rng, bound, subset(rng, rank))],
        tolerance=NORMAL,
        key=seed,
    )


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


def test_softmax_of_masked_scores() -> None:
    """-inf in part of a row gives zeros there."""
    g = GraphBuilder()
    x, mask = g.input(F32, (5, 9)), g.input(F32, (5, 9))
    masked = g.call("aten.add.Tensor", x, mask, 1, out=(F32, (5, 9)))
    g.output(g.call("aten._softmax.default", masked, -1, False, out=(F32, (5, 9))))
    with g.load() as model:
        scores = torch.randn(5, 9, generator=generator_for(0))
        hidden = torch.full((5, 9), -math.inf).triu(1)
        check_outputs(model.run(scores, hidden), [torch.softmax(scores + hidden, -1)], NORMAL)


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
