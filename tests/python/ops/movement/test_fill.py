"""Tensors of one number, and of numbers one after another."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.capi import ModelError
from support.cases import (
    BOOL,
    DEFAULTS,
    EXACT,
    F16,
    F32,
    I32,
    I64,
    TIGHT,
    Arg,
    check_op,
    check_outputs,
    rng_for,
    seeds,
    singles,
)
from support.delegate import GraphBuilder, Value


@pytest.mark.parametrize("dtype", [F32, F16, I32, BOOL])
def test_full(dtype: torch.dtype) -> None:
    values = (0, 1) if dtype == BOOL else (0, 7, -3) if dtype == I32 else (0, 2.5, -math.inf, 1)
    for value in values:
        check_op(
            "aten.full.default",
            [Arg((9, 2))],
            lambda x, value=value: torch.full((x.shape[0], 3), value, dtype=dtype),
            args=lambda g, x, value=value: ([g.symint("sym_size.int", x, 0), 3], value, *DEFAULTS),
            live=singles([(9, 2), (1, 2), (4, 2), (9, 2)]),
            tolerance=EXACT,
        )
        check_op(
            "aten.full_like.default",
            [Arg((4, 5), dtype)],
            lambda x, value=value: torch.full_like(x, value),
            args=lambda g, x, value=value: (x, value, *DEFAULTS, None),
            live=singles([(4, 5), (1, 5), (3, 5)]),
            tolerance=EXACT,
        )


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_zeros_and_ones(name: str) -> None:
    make = getattr(torch, name)
    check_op(
        f"aten.{name}.default",
        [Arg((6, 2))],
        lambda x: make(x.shape[0], 2),
        args=lambda g, x: ([g.symint("sym_size.int", x, 0), 2], *DEFAULTS),
        live=singles([(6, 2), (2, 2), (5, 2)]),
        tolerance=EXACT,
    )
    check_op(
        f"aten.{name}_like.default",
        [Arg((6, 2), I32)],
        getattr(torch, f"{name}_like"),
        args=lambda g, x: (x, *DEFAULTS, None),
        live=singles([(6, 2), (2, 2), (5, 2)]),
        tolerance=EXACT,
    )


def test_scalar_tensor() -> None:
    for value, dtype in ((0, F32), (2.5, F32), (-3, I32)):
        g = GraphBuilder()
        x = g.input(dtype, (3,))
        filled = g.call("aten.scalar_tensor.default", value, *DEFAULTS, out=(dtype, ()))
        g.output(filled, g.call("aten.mul.Tensor", x, filled, out=(dtype, (3,))))
        with g.load() as model:
            ones = torch.ones(3, dtype=dtype)
            expected = torch.tensor(value, dtype=dtype)
            check_outputs(model.run(ones), [expected, ones * expected], EXACT)


@pytest.mark.parametrize("dtype", [I32, F32])
def test_arange(dtype: torch.dtype) -> None:
    def live_end(g: GraphBuilder, x: Value) -> list[Any]:
        return [0, g.symint("sym_size.int", x, 0), 1, *DEFAULTS]

    check_op(
        "aten.arange.start_step",
        [Arg((17, 1))],
        lambda x: torch.arange(0, x.shape[0], 1, dtype=dtype),
        args=live_end,
        live=singles([(17, 1), (1, 1), (5, 1), (16, 1), (17, 1)]),
        tolerance=EXACT,
    )
    for start, end, step in ((1, 9, 2), (5, -4, -3), (0, 6.0, 1)):
        check_op(
            "aten.arange.start_step",
            [Arg((2,))],
            lambda x, a=(start, end, step): torch.arange(*a, dtype=dtype),
            args=lambda g, x, a=(start, end, step): (*a, *DEFAULTS),
            tolerance=EXACT,
        )


@pytest.mark.parametrize("seed", seeds(50))
def test_arange_of_any_numbers(seed: int) -> None:
    """Steps that are no whole numbers, down too, and ranges without elements."""
    rng = rng_for("arange", seed)
    dtype = (F32, I64)[seed % 2]
    step = rng.choice((1, 2, 7, -1, -3, 0.1, 0.25, -0.3) if dtype == F32 else (1, 2, 7, -1, -3))
    start, count = rng.randint(-20, 20), rng.choice((0, 1, 2, 9, 100))
    end = start + step * (count - 0.5) if count and seed % 3 else start + step * count
    numbers = (start, end, step) if dtype == F32 else (start, round(end), step)
    expected = torch.arange(*numbers, dtype=dtype)
    check_op(
        "aten.arange.start_step",
        [Arg((2,))],
        lambda x: expected,
        args=lambda g, x: (*numbers, *DEFAULTS),
        tolerance=TIGHT,
        key=seed,
    )


@pytest.mark.parametrize(("start", "end", "step"), [(0, 9, 0), (0, 9, -1), (0, 1 << 40, 1)])
def test_ranges_that_do_not_fit_are_refused(start: int, end: int, step: int) -> None:
    g = GraphBuilder()
    args = (start, end, step, *DEFAULTS)
    g.output(g.call("aten.arange.start_step", *args, out=(I32, (9,))))
    with pytest.raises(ModelError, match="does not fit the recorded sizes"):
        g.load()


def test_arange_from_a_live_position() -> None:
    """Positions [pos, pos + S): both ends change between calls, the length sometimes not."""
    g = GraphBuilder()
    x = g.input(F32, (8,))
    pos = g.input(I64, (1,))
    start = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    end = g.symint("add", start, g.symint("sym_size.int", x, 0))
    g.output(g.call("aten.arange.start_step", start, end, 1, *DEFAULTS, out=(I32, (8,))))
    with g.load() as model:
        for at, count in ((0, 8), (3, 8), (100, 8), (7, 1), (8, 1), (9, 1), (2, 5), (3, 5)):
            got = model.run(torch.zeros(count), torch.tensor([at]))
            check_outputs(got, [torch.arange(at, at + count)], EXACT)
