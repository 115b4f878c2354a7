"""Functions of two operands, which broadcast; numbers in their place; and choices."""

from __future__ import annotations

import math
import random

import pytest
import torch
from support.cases import (
    BOOL,
    EXACT,
    F16,
    F32,
    I32,
    I64,
    SUMS,
    TIGHT,
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
from support.functions import BINARY, SCALAR_COMPARISONS, to_copy


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


# --- Numbers --------------------------------------------------------------------------------------


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


# --- Choices --------------------------------------------------------------------------------------


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
