"""Concatenation, padding, and gathering by indices."""

from __future__ import annotations

import math

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
    Arg,
    check_op,
    check_outputs,
    dtype_for,
    generator_for,
    indices,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    singles,
    subset,
)
from support.delegate import GraphBuilder


@pytest.mark.parametrize("seed", seeds(20))
def test_cat(seed: int) -> None:
    """1 to 11 tensors: more than the 8 buffers one dispatch may bind."""
    rng = rng_for("cat", seed)
    dtype = (F32, F16, I32, I64)[seed % 4]
    common = list(random_shape(rng, rng.randint(1, 4), elements=128))
    dim = rng.randint(0, len(common) - 1)
    count = rng.choice((1, 2, 3, 11))
    bounds = [(*common[:dim], rng.randint(1, 6), *common[dim + 1 :]) for _ in range(count)]
    others = [d for d in subset(rng, len(common)) if d != dim]
    live = []
    for step in range(6):
        sizes = [rng.randint(1, d) if step else d for d in common]
        live.append(
            [
                tuple(
                    (rng.randint(0, b[i]) if step else b[i])
                    if i == dim
                    else (sizes[i] if i in others else b[i])
                    for i in range(len(b))
                )
                for b in bounds
            ]
        )
    rng.shuffle(live)
    written = dim - len(common) if seed % 2 else dim
    check_op(
        "aten.cat.default",
        [Arg(b, dtype) for b in bounds],
        lambda *xs: torch.cat(xs, dim),
        args=lambda g, *xs: (list(xs), written),
        live=live,
        tolerance=EXACT,
        key=seed,
    )


def test_cat_of_one_tensor_with_itself() -> None:
    check_op(
        "aten.cat.default",
        [Arg((3, 4))],
        lambda x: torch.cat([x, x, x], 1),
        args=lambda g, x: ([x, x, x], 1),
        live=singles([(3, 4), (1, 4), (2, 4)]),
        tolerance=EXACT,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_constant_pad_nd(seed: int) -> None:
    rng = rng_for("pad", seed)
    dtype = (F32, F16, I32, BOOL)[seed % 4]
    bound = random_shape(rng, rng.randint(1, 4), elements=256)
    pad = [rng.randint(0, 3) for _ in range(2 * rng.randint(1, len(bound)))]
    value = rng.choice((0, 1)) if dtype in (I32, BOOL) else rng.choice((0.0, -1.5, -math.inf))
    check_op(
        "aten.constant_pad_nd.default",
        [Arg(bound, dtype)],
        lambda x: F.pad(x, pad, value=value),
        args=lambda g, x: (x, pad, value),
        live=singles(live_shapes(rng, bound, subset(rng, len(bound)))),
        tolerance=EXACT,
        key=seed,
    )


def test_cat_of_two_parts_that_share_a_length() -> None:
    """x[pos:] and x[:pos]: each alone may be as long as x."""
    g = GraphBuilder()
    x = g.input(F32, (9, 4))
    pos = g.input(I64, (1,))
    at = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    end = g.call("aten.slice_copy.Tensor", x, 0, at, None, 1, out=(F32, (9, 4)))
    start = g.call("aten.slice_copy.Tensor", x, 0, None, at, 1, out=(F32, (9, 4)))
    g.output(g.call("aten.cat.default", [end, start], 0, out=(F32, (9, 4))))
    with g.load() as model:
        for rows, position in ((9, 0), (9, 4), (9, 9), (5, 2), (1, 0), (9, 1)):
            value = torch.randn(rows, 4, generator=generator_for(rows, position))
            got = model.run(value, torch.tensor([position]))
            check_outputs(got, [value.roll(-position, 0)], EXACT, f"{rows} rows from {position}")


# --- Gathering ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(12))
def test_index_select(seed: int) -> None:
    rng = rng_for("index_select", seed)
    bound = random_shape(rng, rng.randint(1, 4), elements=512)
    dim = rng.randint(0, len(bound) - 1)
    count = rng.randint(1, 7)
    live = [
        [x, (rng.randint(1, count),)]
        for x in live_shapes(rng, bound, [d for d in subset(rng, len(bound)) if d != dim])
    ]
    check_op(
        "aten.index_select.default",
        [Arg(bound, dtype_for(seed)), indices((count,), bound[dim], seed)],
        lambda x, i: x.index_select(dim, i),
        args=lambda g, x, i: (x, dim, i),
        live=live,
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_index_tensor(seed: int) -> None:
    """One 1-D index among Nones: what the partitioner takes."""
    rng = rng_for("index", seed)
    dtype = (F32, F16, I32, I64)[seed % 4]
    bound = random_shape(rng, rng.randint(1, 4), elements=512)
    dim = rng.randint(0, len(bound) - 1)
    count = rng.randint(1, 7)
    live = [
        [x, (rng.randint(1, count),)]
        for x in live_shapes(rng, bound, [d for d in subset(rng, len(bound)) if d != dim])
    ]
    check_op(
        "aten.index.Tensor",
        [Arg(bound, dtype), indices((count,), bound[dim], seed)],
        lambda x, i: x.index_select(dim, i),
        args=lambda g, x, i: (x, [*([None] * dim), i]),
        live=live,
        tolerance=EXACT,
        key=seed,
    )


def test_index_tensor_counts_negative_indices_from_the_end() -> None:
    check_op(
        "aten.index.Tensor",
        [Arg((5, 3)), Arg((6,), I64, -5, 4)],
        lambda x, i: x[i],
        args=lambda g, x, i: (x, [i]),
        tolerance=EXACT,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_gather(seed: int) -> None:
    rng = rng_for("gather", seed)
    bound = random_shape(rng, rng.randint(1, 4), elements=512)
    dim = rng.randint(0, len(bound) - 1)
    count = rng.randint(1, 6)
    live = []
    for x in live_shapes(rng, bound, [d for d in subset(rng, len(bound)) if d != dim]):
        picked = [rng.randint(1, s) for s in x]
        picked[dim] = rng.randint(1, count)
        live.append([x, tuple(picked)])
    most = list(bound)
    most[dim] = count
    check_op(
        "aten.gather.default",
        [Arg(bound, dtype_for(seed)), indices(tuple(most), bound[dim], 1)],
        lambda x, i: x.gather(dim, i),
        args=lambda g, x, i: (x, dim, i, False),
        live=live,
        tolerance=EXACT,
        key=seed,
    )
