"""Softmax and its logarithm."""

from __future__ import annotations

import math

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::rms_norm
import pytest
import torch
from support.cases import (
    F16,
    F32,
    NORMAL,
    SUMS,
    Arg,
    check_op,
    check_outputs,
    live_shapes,
    random_rows,
    random_shape,
    rng_for,
    seeds,
    subset,
)
from support.delegate import GraphBuilder
from support.functions import SOFTMAX


@pytest.mark.parametrize("seed", seeds(60))
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name: str, seed: int) -> None:
    rng = rng_for(name, seed)
    shape = random_rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 4))
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
