"""Functions of one operand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.cases import (
    BOOL,
    EXACT,
    F16,
    F32,
    I32,
    NORMAL,
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
from support.functions import UNARY, to_copy


@pytest.mark.parametrize("seed", seeds(6))
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, seed: int) -> None:
    reference, low, high, extra, tolerance = UNARY[name]
    rng = rng_for(name, seed)
    dtype = (F32, F32, F16)[seed % 3]
    if dtype == F16:
        low, high = max(low, -30), min(high, 6 if "exp" in name else 30)
    bound = random_shape(rng, rng.randint(0, 4))
    check_op(
        name.split()[0],
        [Arg(bound, dtype, low, high)],
        reference,
        args=lambda g, x: (x, *extra),
        live=[[s] for s in live_shapes(rng, bound, subset(rng, len(bound)))],
        tolerance=tolerance,
        key=seed,
    )


def test_round_takes_halves_to_even() -> None:
    check_op(
        "aten.round.default",
        [Arg((40,), I32, -20, 20)],
        lambda x: torch.round(x.float() / 2),
        args=lambda g, x: [halves(g, x, (40,))],
        tolerance=EXACT,
    )


def halves(g: Any, x: Any, shape: Shape) -> Any:
    as_float = to_copy(g, x, F32, shape)
    return g.call("aten.mul.Tensor", as_float, g.constant(torch.tensor(0.5)), out=(F32, shape))


@pytest.mark.parametrize("low,high", [(-2, 3), (None, 3), (-2, None)])
def test_clamp_of_integers(low: int | None, high: int | None) -> None:
    check_op(
        "aten.clamp.default",
        [Arg((5, 7), I32, -9, 9)],
        lambda x: x.clamp(low, high),
        args=lambda g, x: (x, low, high),
        live=[[(5, 7)], [(1, 7)], [(4, 7)]],
    )


def test_more_elements_than_one_grid_dimension_holds() -> None:
    """4.3 million: over 65,535 workgroups of 64 invocations."""
    bound = (65536 + 129, 66)
    check_op(
        "aten.neg.default",
        [Arg(bound)],
        torch.neg,
        live=[[bound], [(3, 66)], [bound]],
        tolerance=EXACT,
    )


@pytest.mark.parametrize("name", ["aten.logical_not.default", "aten.bitwise_not.default"])
def test_not(name: str) -> None:
    rng = rng_for(name)
    for rank in range(7):
        bound = random_shape(rng, rank, elements=1024)
        check_op(
            name,
            [Arg(bound, BOOL)],
            torch.logical_not,
            live=[[s] for s in live_shapes(rng, bound, subset(rng, rank))],
            key=rank,
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
