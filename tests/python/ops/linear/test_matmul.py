"""Matrix products of floats: linear, mm, bmm, addmm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.cases import F16, F32, HALF, SUMS, Arg, check_op, live_shapes, rng_for, seeds, shrunk

SIZES = (1, 2, 3, 5, 8, 17, 31, 33, 64, 65, 100)


def rows_in_any_order(rng: Any, most: int) -> list[int]:
    """One row (the decoding route) between many, in random order."""
    rows = [most, 1, rng.randint(1, most), rng.randint(1, most), 1, most]
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", seeds(36))
def test_linear(seed: int) -> None:
    rng = rng_for("linear", seed)
    k, n, rows = rng.choice(SIZES), rng.choice(SIZES), rng.choice((*SIZES, 150))
    outer = ((), (1,), (2,), (1, 3))[seed % 4]
    bias = seed % 2 == 0
    constant = seed % 5 != 4
    dtype = F16 if seed % 6 == 5 else F32
    arguments = [Arg((*outer, rows, k), dtype), Arg((n, k), dtype, constant=constant)]
    if bias:
        arguments.append(Arg((n,), dtype, constant=constant))
    fixed = [a.bound for a in arguments[1:]]
    check_op(
        "aten.linear.default",
        arguments,
        F.linear,
        args=lambda g, x, w, *b: (x, w, *(b or [None])),
        live=[[(*outer, m, k), *fixed] for m in rows_in_any_order(rng, rows)],
        tolerance=HALF if dtype == F16 else SUMS,
        key=seed,
    )


def test_linear_of_a_vector() -> None:
    check_op(
        "aten.linear.default",
        [Arg((33,)), Arg((7, 33), constant=True)],
        F.linear,
        args=lambda g, x, w: (x, w, None),
        tolerance=SUMS,
    )


def test_linear_of_activations_with_a_matrix_for_bias() -> None:
    """What addmm(a, x, y.t()) becomes; both sizes of the product are live."""
    check_op(
        "aten.linear.default",
        [Arg((9, 20)), Arg((12, 20)), Arg((9, 12))],
        lambda x, w, b: x @ w.t() + b,
        live=[[(m, 20), (n, 20), (m, n)] for m, n in ((9, 12), (1, 12), (4, 5), (1, 1), (9, 3))],
        tolerance=SUMS,
    )
    check_op(
        "aten.linear.default",
        [Arg((9, 20))],
        lambda x: x @ x.t(),
        args=lambda g, x: (x, x, None),
        live=[[(n, 20)] for n in (9, 1, 4, 9)],
        tolerance=SUMS,
    )


@pytest.mark.parametrize("seed", seeds(24))
def test_mm(seed: int) -> None:
    rng = rng_for("mm", seed)
    m, k, n = (rng.choice(SIZES) for _ in range(3))
    constant = seed % 2 == 0
    dtype = F16 if seed % 6 == 5 else F32
    live = []
    for rows in rows_in_any_order(rng, m):
        live.append([(rows, k), (k, n)])
        if not constant:
            inner = rng.randint(1, k)
            live.append([(rows, inner), (inner, rng.randint(1, n))])
    check_op(
        "aten.mm.default",
        [Arg((m, k), dtype), Arg((k, n), dtype, constant=constant)],
        torch.mm,
        live=live,
        tolerance=HALF if dtype == F16 else SUMS,
        key=seed,
    )


def test_mm_with_a_constant_on_the_left() -> None:
    check_op(
        "aten.mm.default",
        [Arg((7, 30), constant=True), Arg((30, 11))],
        torch.mm,
        live=[[(7, 30), (30, n)] for n in (11, 1, 6)],
        tolerance=SUMS,
    )


@pytest.mark.parametrize("seed", seeds(16))
def test_addmm(seed: int) -> None:
    rng = rng_for("addmm", seed)
    m, k, n = (rng.choice(SIZES) for _ in range(3))
    bias = ((n,), (1, n), (m, n), (m, 1), ())[seed % 5]
    beta, alpha = ((1, 1), (0.5, 2.0), (1, -1), (0, 1))[seed % 4]
    live = []
    for rows in rows_in_any_order(rng, m):
        shape = tuple(
            rows if i == 0 and len(bias) == 2 and s == m else s for i, s in enumerate(bias)
        )
        live.append([shape if m > 1 else bias, (rows, k), (k, n)])
    check_op(
        "aten.addmm.default",
        [Arg(bias), Arg((m, k)), Arg((k, n), constant=seed % 2 == 0)],
        lambda b, x, w: torch.addmm(b, x, w, beta=beta, alpha=alpha),
        args=lambda g, b, x, w: (b, x, w, beta, alpha),
        live=live,
        tolerance=SUMS,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(20))
def test_bmm(seed: int) -> None:
    rng = rng_for("bmm", seed)
    b = rng.choice((1, 2, 3, 9))
    m, k, n = (rng.choice(SIZES) for _ in range(3))
    live = []
    for _ in range(5):
        (bb, mm, kk, nn) = shrunk(rng, (b, m, k, n), [0, 1, 2, 3])
        live.append([(bb, mm, kk), (bb, kk, nn)])
    check_op(
        "aten.bmm.default",
        [Arg((b, m, k)), Arg((b, k, n))],
        torch.bmm,
        live=[[(b, m, k), (b, k, n)], *live],
        tolerance=SUMS,
        key=seed,
    )


def test_bmm_of_one_tensor_with_itself() -> None:
    check_op(
        "aten.bmm.default",
        [Arg((3, 8, 8))],
        lambda x: torch.bmm(x, x),
        args=lambda g, x: (x, x),
        live=[[s] for s in live_shapes(rng_for("self"), (3, 8, 8), [0])],
        tolerance=SUMS,
    )


def test_products_longer_than_a_tile() -> None:
    for m, k, n in ((1, 1536, 576), (70, 700, 130), (129, 64, 257)):
        check_op(
            "aten.linear.default",
            [Arg((m, k)), Arg((n, k), constant=True)],
            F.linear,
            args=lambda g, x, w: (x, w, None),
            live=[[(m, k), (n, k)], [(1, k), (n, k)], [(m, k), (n, k)]],
            tolerance=SUMS.__class__(1e-4, 2e-4),
        )


def test_products_of_nothing() -> None:
    check_op(
        "aten.mm.default",
        [Arg((4, 5)), Arg((5, 3))],
        torch.mm,
        live=[[(4, 5), (5, 3)], [(0, 5), (5, 3)], [(4, 0), (0, 3)], [(2, 5), (5, 3)]],
        tolerance=SUMS,
    )
