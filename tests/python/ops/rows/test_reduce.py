"""Sums, means and extremes along dimensions, and their positions."""

from __future__ import annotations

import math

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::rms_norm
import pytest
import torch
from support.cases import (
    EXACT,
    F16,
    F32,
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
from support.functions import REDUCTIONS


@pytest.mark.parametrize("seed", seeds(40))
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, seed: int) -> None:
    rng = rng_for(name, seed)
    shape = random_rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 5))
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
    shape = random_rows(rng) if seed % 2 else random_shape(rng, rng.randint(0, 4))
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
