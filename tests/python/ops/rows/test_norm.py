"""Normalization of rows, groups and channels."""

from __future__ import annotations

import math
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::rms_norm
import pytest
import torch
import torch.nn.functional as F
from support.cases import (
    F16,
    F32,
    NORMAL,
    SUMS,
    Arg,
    check_op,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    subset,
)
from support.delegate import GraphBuilder


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


@pytest.mark.parametrize("seed", seeds(50))
def test_instance_norm(seed: int) -> None:
    """As newer exporters write it: a group norm with a group for each channel."""
    rng = rng_for("instance_norm", seed)
    channels = rng.randint(1, 6)
    image = (rng.randint(2, 9), rng.randint(1, 9))[: rng.randint(1, 2)]
    bound = (rng.randint(1, 3), channels, *image)
    inner, affine = math.prod(image), seed % 2 == 0

    def reference(x: torch.Tensor, *wb: torch.Tensor) -> Any:
        w, b = wb or (None, None)
        out = torch.native_group_norm(x, w, b, x.shape[0], channels, inner, channels, 1e-5)
        same = F.instance_norm(x, weight=w, bias=b, eps=1e-5)
        torch.testing.assert_close(out[0], same, rtol=1e-4, atol=1e-4)
        return out

    def args(g: GraphBuilder, x: Any, *wb: Any) -> Any:
        w, b = wb or (None, None)
        return (x, w, b, bound[0], channels, inner, channels, 1e-5)

    batches = [bound[0], rng.randint(1, bound[0]), bound[0]]
    check_op(
        "aten.native_group_norm.default",
        [Arg(bound)] + [Arg((channels,), constant=True)] * (2 if affine else 0),
        reference,
        args=args,
        live=[[(n, *bound[1:])] + [(channels,)] * (2 if affine else 0) for n in batches],
        tolerance=SUMS if inner > 2 else NORMAL,
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
