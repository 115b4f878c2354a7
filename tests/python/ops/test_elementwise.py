"""Unary and binary arithmetic, comparisons, logic, where, and dtype conversion."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
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
    I64,
    NORMAL,
    SUMS,
    TIGHT,
    Arg,
    Shape,
    Tolerance,
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

# WGSL bounds the error of sin and cos by 2^-11 within one period.
TRIGONOMETRIC = Tolerance(0.0, 6e-4)

# operator: reference, range of elements, arguments after the tensor, tolerance
UNARY: dict[str, tuple[Callable[..., torch.Tensor], float, float, list[Any], Tolerance]] = {
    "aten.abs.default": (torch.abs, -5, 5, [], EXACT),
    "aten.cos.default": (torch.cos, -math.pi, math.pi, [], TRIGONOMETRIC),
    "aten.exp.default": (torch.exp, -20, 12, [], NORMAL),
    "aten.gelu.default": (F.gelu, -9, 9, ["none"], NORMAL),
    "aten.gelu.default tanh": (lambda x: F.gelu(x, approximate="tanh"), -40, 40, ["tanh"], NORMAL),
    "aten.hardshrink.default": (lambda x: F.hardshrink(x, 0.7), -2, 2, [0.7], EXACT),
    "aten.hardswish.default": (F.hardswish, -5, 5, [], TIGHT),
    "aten.hardtanh.default": (lambda x: F.hardtanh(x, -0.5, 1.0), -2, 2, [-0.5, 1.0], EXACT),
    "aten.hardtanh.default ints": (lambda x: F.hardtanh(x, 0, 6), -3, 9, [0, 6], EXACT),
    "aten.leaky_relu.default": (lambda x: F.leaky_relu(x, 0.2), -3, 3, [0.2], TIGHT),
    "aten.log10.default": (torch.log10, 0.001, 50, [], NORMAL),
    "aten.neg.default": (torch.neg, -5, 5, [], EXACT),
    "aten.relu.default": (F.relu, -2, 2, [], EXACT),
    "aten.round.default": (torch.round, -4, 4, [], EXACT),
    "aten.rsqrt.default": (torch.rsqrt, 0.01, 100, [], NORMAL),
    "aten.sigmoid.default": (torch.sigmoid, -100, 100, [], NORMAL),
    "aten.sin.default": (torch.sin, -math.pi, math.pi, [], TRIGONOMETRIC),
    "aten.sqrt.default": (torch.sqrt, 0, 100, [], NORMAL),
    "aten.tanh.default": (torch.tanh, -100, 100, [], NORMAL),
    "aten.clamp.default": (lambda x: x.clamp(-1, 0.5), -3, 3, [-1, 0.5], EXACT),
    "aten.clamp.default min": (lambda x: x.clamp(min=0.25), -3, 3, [0.25, None], EXACT),
    "aten.clamp.default max": (lambda x: x.clamp(max=0.25), -3, 3, [None, 0.25], EXACT),
    "aten.pow.Tensor_Scalar square": (lambda x: x**2, -9, 9, [2], NORMAL),
    "aten.pow.Tensor_Scalar cube": (lambda x: x**3, -9, 9, [3.0], NORMAL),
    "aten.pow.Tensor_Scalar root": (lambda x: x**0.5, 0.01, 9, [0.5], NORMAL),
    "aten.pow.Tensor_Scalar inverse": (lambda x: x**-1.5, 0.1, 9, [-1.5], SUMS),
}


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


def to_copy(g: Any, x: Any, dtype: torch.dtype, shape: Shape) -> Any:
    none = [None] * 4
    return g.call("aten._to_copy.default", x, *none, False, None, out=(dtype, shape))


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


# --- Two operands -------------------------------------------------------------------------------


def broadcast(rng: random.Random, rank: int) -> tuple[Shape, Shape, list[list[Shape]]]:
    """Bounds of two operands that broadcast, and live sizes for both."""
    out = random_shape(rng, rank, elements=2048)
    kinds = [rng.choice(("both", "both", "both", "left", "right")) for _ in out]
    dynamic = set(subset(rng, rank))
    # A dimension recorded as 1 is static: only those above vary.
    lefts = [d if k != "right" else 1 for d, k in zip(out, kinds, strict=True)]
    rights = [d if k != "left" else 1 for d, k in zip(out, kinds, strict=True)]
    drop_left, drop_right = 0, 0
    if rng.random() < 0.5 and rank:
        n = rng.randint(0, rank)
        if rng.random() < 0.5:
            drop_left = n if all(d == 1 for d in lefts[:n]) else 0
        else:
            drop_right = n if all(d == 1 for d in rights[:n]) else 0
    live = []
    for step in range(6):
        sizes = [
            rng.randint(1, d) if i in dynamic and d > 1 and step else d for i, d in enumerate(out)
        ]
        a = [s if full > 1 else 1 for s, full in zip(sizes, lefts, strict=True)]
        b = [s if full > 1 else 1 for s, full in zip(sizes, rights, strict=True)]
        live.append([tuple(a[drop_left:]), tuple(b[drop_right:])])
    rng.shuffle(live)
    return tuple(lefts[drop_left:]), tuple(rights[drop_right:]), live


BINARY: dict[str, tuple[Callable[..., torch.Tensor], list[Any], tuple[torch.dtype, ...]]] = {
    "aten.add.Tensor": (torch.add, [1], (F32, F16, I32, I64)),
    "aten.add.Tensor alpha": (lambda a, b: torch.add(a, b, alpha=-3), [-3], (F32, I32)),
    "aten.add.Tensor float": (lambda a, b: torch.add(a, b, alpha=0.25), [0.25], (F32, F16)),
    "aten.sub.Tensor": (torch.sub, [1], (F32, F16, I32, I64)),
    "aten.sub.Tensor alpha": (lambda a, b: torch.sub(a, b, alpha=2), [2], (F32, I32)),
    "aten.mul.Tensor": (torch.mul, [], (F32, F16, I32, I64)),
    "aten.div.Tensor": (torch.div, [], (F32, F16)),
    "aten.div.Tensor_mode floor": (
        lambda a, b: torch.div(a, b, rounding_mode="floor"),
        ["floor"],
        (F32, I32, I64),
    ),
    "aten.div.Tensor_mode trunc": (
        lambda a, b: torch.div(a, b, rounding_mode="trunc"),
        ["trunc"],
        (F32, I32, I64),
    ),
    "aten.minimum.default": (torch.minimum, [], (F32, F16, I32, I64)),
    "aten.pow.Tensor_Tensor": (torch.pow, [], (F32, I32)),
    "aten.eq.Tensor": (torch.eq, [], (F32, I32, I64)),
    "aten.lt.Tensor": (torch.lt, [], (F32, F16, I32, I64)),
    "aten.le.Tensor": (torch.le, [], (F32, F16, I32, I64)),
    "aten.gt.Tensor": (torch.gt, [], (F32, F16, I32, I64)),
    "aten.ge.Tensor": (torch.ge, [], (F32, F16, I32, I64)),
    "aten.bitwise_and.Tensor": (torch.bitwise_and, [], (BOOL,)),
    "aten.bitwise_or.Tensor": (torch.bitwise_or, [], (BOOL,)),
    "aten.logical_and.default": (torch.logical_and, [], (BOOL,)),
    "aten.logical_or.default": (torch.logical_or, [], (BOOL,)),
}


def operands(name: str, a: Shape, b: Shape, dtype: torch.dtype) -> list[Arg]:
    whole = not dtype.is_floating_point
    if "pow" in name:
        return [Arg(a, dtype, 1 if whole else 0.1, 4), Arg(b, dtype, 0 if whole else -3, 4)]
    if "div" in name:
        # Divisors of one sign, away from zero; dividends of both.
        sign = -1 if len(a) % 2 else 1
        low, high = sorted((sign * (1 if whole else 0.3), sign * 7))
        return [Arg(a, dtype, -20, 20), Arg(b, dtype, low, high)]
    span = 3 if whole else 2.0
    return [Arg(a, dtype, -span, span), Arg(b, dtype, -span, span)]


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, seed: int) -> None:
    reference, extra, dtypes = BINARY[name]
    rng = rng_for(name, seed)
    dtype = dtypes[seed % len(dtypes)]
    a, b, live = broadcast(rng, rng.choice((1, 2, 3, 4, 5, 6)))
    tolerance = SUMS if "pow" in name else TIGHT
    check_op(
        name.split()[0],
        operands(name, a, b, dtype),
        reference,
        args=lambda g, x, y: (x, y, *extra),
        live=live,
        tolerance=tolerance,
        key=seed,
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["aten.add.Tensor", "aten.mul.Tensor", "aten.gt.Tensor"])
def test_an_operand_may_be_a_constant(name: str, side: str) -> None:
    reference, extra, _ = BINARY[name]
    shapes = [[(9, 1, 4), (3, 1)], [(2, 1, 4), (3, 1)], [(7, 1, 4), (3, 1)]]
    if side == "left":
        shapes = [s[::-1] for s in shapes]
    check_op(
        name,
        [Arg(s, constant=s == (3, 1)) for s in shapes[0]],
        reference,
        args=lambda g, x, y: (x, y, *extra),
        live=shapes,
        tolerance=TIGHT,
    )


@pytest.mark.parametrize("name", ["aten.add.Tensor", "aten.mul.Tensor", "aten.eq.Tensor"])
def test_both_operands_may_be_one_tensor(name: str) -> None:
    reference, extra, _ = BINARY[name]
    check_op(
        name,
        [Arg((5, 3))],
        lambda x: reference(x, x),
        args=lambda g, x: (x, x, *extra),
        live=[[(5, 3)], [(2, 3)], [(4, 3)]],
        tolerance=TIGHT,
    )


@pytest.mark.parametrize("name", ["aten.add.Tensor", "aten.mul.Tensor"])
def test_operands_without_elements(name: str) -> None:
    reference, extra, _ = BINARY[name]
    check_op(
        name,
        [Arg((4, 5)), Arg((4, 1))],
        reference,
        args=lambda g, x, y: (x, y, *extra),
        live=[[(4, 5), (4, 1)], [(0, 5), (0, 1)], [(3, 5), (3, 1)], [(3, 0), (3, 1)]],
        tolerance=TIGHT,
    )


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_division_of_whole_floats_is_exact(mode: str) -> None:
    """A GPU's quotient may be one bit short of a whole number; its floor must not be."""
    check_op(
        "aten.div.Tensor_mode",
        [Arg((64, 40), I32, -200, 200), Arg((64, 40), I32, 1, 60)],
        lambda a, b: torch.div(a.float(), b.float(), rounding_mode=mode),
        args=lambda g, x, y: (to_copy(g, x, F32, (64, 40)), to_copy(g, y, F32, (64, 40)), mode),
        tolerance=EXACT,
    )


def test_integer_division_of_mixed_signs() -> None:
    for mode in ("floor", "trunc"):
        check_op(
            "aten.div.Tensor_mode",
            [Arg((30, 40), I32, -50, 50), Arg((30, 40), I32, -7, -1)],
            lambda a, b, mode=mode: torch.div(a, b, rounding_mode=mode),
            args=lambda g, x, y, mode=mode: (x, y, mode),
        )


def test_powers_of_negative_numbers() -> None:
    """Whole exponents: WGSL's own pow leaves these undefined."""
    check_op(
        "aten.pow.Tensor_Tensor",
        [Arg((6, 50), low=-3, high=3), Arg((6, 50), I32, -3, 4)],
        lambda a, b: torch.pow(a, b.float()),
        args=lambda g, x, y: (x, to_copy(g, y, F32, (6, 50))),
        tolerance=SUMS,
    )


# --- Scalars ------------------------------------------------------------------------------------

SCALAR_COMPARISONS = {
    "aten.eq.Scalar": torch.eq,
    "aten.ne.Scalar": torch.ne,
    "aten.lt.Scalar": torch.lt,
    "aten.le.Scalar": torch.le,
    "aten.gt.Scalar": torch.gt,
    "aten.ge.Scalar": torch.ge,
}


@pytest.mark.parametrize("dtype", [F32, F16, I32, I64])
@pytest.mark.parametrize("name", SCALAR_COMPARISONS)
def test_comparison_with_a_number(name: str, dtype: torch.dtype) -> None:
    rng = rng_for(name, dtype)
    for scalar in (1, 0.5, -1.0):
        bound = random_shape(rng, rng.randint(1, 6), elements=1024)
        check_op(
            name,
            [Arg(bound, dtype, -2, 2)],
            lambda x, scalar=scalar: SCALAR_COMPARISONS[name](x, scalar),
            args=lambda g, x, scalar=scalar: (x, scalar),
            live=[[s] for s in live_shapes(rng, bound, subset(rng, len(bound)))],
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


@pytest.mark.parametrize("seed", seeds(12))
def test_where(seed: int) -> None:
    rng = rng_for("where", seed)
    dtype = (F32, F32, F16)[seed % 3]
    a, b, live = broadcast(rng, rng.randint(1, 4))
    # The condition has the sizes of one operand, of both together, or is a scalar.
    kind = seed % 4

    def condition(x: Shape, y: Shape) -> Shape:
        if kind == 3:
            return ()
        return (x, y, tuple(torch.broadcast_shapes(x, y)))[kind]

    check_op(
        "aten.where.self",
        [Arg(condition(a, b), BOOL), Arg(a, dtype), Arg(b, dtype)],
        torch.where,
        live=[[condition(x, y), x, y] for x, y in live],
        tolerance=EXACT,
        key=seed,
    )


def test_where_with_infinite_scalar() -> None:
    """How attention masks are made: where(mask, 0, -inf)."""
    check_op(
        "aten.where.self",
        [Arg((7, 9), BOOL)],
        lambda c: torch.where(c, torch.tensor(0.0), torch.tensor(-math.inf)),
        args=lambda g, c: (c, g.prepack(torch.tensor(0.0)), g.prepack(torch.tensor(-math.inf))),
        live=[[(7, 9)], [(1, 9)], [(3, 9)]],
        tolerance=EXACT,
    )


def test_numbers_may_be_live() -> None:
    """A SymInt as an operand is bound, not compiled in: the plan serves every value."""
    g = GraphBuilder()
    x = g.input(F32, (6, 4))
    k = g.input(I32, (6, 4))
    n = g.symint_input()
    positive = g.call("aten.gt.Scalar", x, 0, out=(BOOL, (6, 4)))
    g.output(
        g.call("aten.mul.Tensor", x, n, out=(F32, (6, 4))),
        g.call("aten.sub.Tensor", n, x, 1, out=(F32, (6, 4))),
        g.call("aten.add.Tensor", x, x, n, out=(F32, (6, 4))),
        g.call("aten.where.self", positive, x, n, out=(F32, (6, 4))),
        g.call("aten.where.self", positive, n, x, out=(F32, (6, 4))),
        g.call("aten.lt.Scalar", k, n, out=(BOOL, (6, 4))),
        g.call("aten.full_like.default", k, n, None, None, None, False, None, out=(I32, (6, 4))),
    )
    with g.load() as model:
        for rows, value in ((6, 2), (6, -3), (1, 5), (6, 2), (4, 0)):
            a = torch.randn(rows, 4, generator=generator_for(rows, value))
            b = torch.randint(-4, 4, (rows, 4), generator=generator_for(rows)).to(I32)
            number = torch.tensor(float(value))
            expected = [
                a * value,
                value - a,
                a + value * a,
                torch.where(a > 0, a, number),
                torch.where(a > 0, number, a),
                b < value,
                torch.full_like(b, value),
            ]
            check_outputs(model.run(a, b, value), expected, TIGHT, f"{rows} rows, {value}")


# --- Conversion ---------------------------------------------------------------------------------


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
