"""Conversions between dtypes."""

from __future__ import annotations

import pytest
import torch
from support.cases import (
    BOOL,
    EXACT,
    F16,
    F32,
    I32,
    I64,
    Arg,
    check_op,
    live_shapes,
    random_shape,
    rng_for,
    subset,
)


@pytest.mark.parametrize("target", [F32, F16, I32, I64, BOOL])
@pytest.mark.parametrize("source", [F32, F16, I32, I64, BOOL])
def test_to_copy(source: torch.dtype, target: torch.dtype) -> None:
    rng = rng_for("to_copy", source, target)
    for rank in (0, 1, 2, 4):
        bound = random_shape(rng, rank, elements=1024)
        check_op(
            "aten._to_copy.default",
            [Arg(bound, source, -3, 3)],
            lambda x: x.to(target),
            args=lambda g, x: (x, None, None, None, None, False, None),
            live=[[s] for s in live_shapes(rng, bound, subset(rng, rank))],
            tolerance=EXACT,
            key=rank,
        )


def test_floats_become_integers_towards_zero() -> None:
    check_op(
        "aten._to_copy.default",
        [Arg((400,), low=-300.0, high=300.0)],
        lambda x: x.to(I32),
        args=lambda g, x: (x, None, None, None, None, False, None),
    )


@pytest.mark.parametrize("name", ["dim_order_ops._to_dim_order_copy.default"])
def test_to_dim_order_copy(name: str) -> None:
    for source, target in ((F32, I32), (I32, F32), (F32, F32), (BOOL, F32), (F16, F32)):
        check_op(
            name,
            [Arg((3, 4, 5), source, -3, 3)],
            lambda x, target=target: x.to(target),
            args=lambda g, x: (x, None, None, None, None, False, [0, 1, 2]),
            live=[[(3, 4, 5)], [(1, 4, 5)], [(2, 4, 5)]],
            tolerance=EXACT,
        )
