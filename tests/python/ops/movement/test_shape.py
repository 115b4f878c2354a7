"""Views, permutations, expansion and repetition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.cases import (
    DTYPES,
    EXACT,
    F32,
    TIGHT,
    Arg,
    check_op,
    check_outputs,
    dtype_for,
    generator_for,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    singles,
    subset,
)
from support.delegate import GraphBuilder, Value

# --- Views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(20))
def test_view_copy_with_one_free_dimension(seed: int) -> None:
    """Sizes as an IntList with a -1, the first dimension live."""
    rng = rng_for("view", seed)
    inner = random_shape(rng, rng.randint(1, 4), elements=256)
    bound = (rng.randint(1, 9), *inner)
    split = rng.randint(0, len(inner))
    target = [-1, *([math.prod(inner[:split])] if split else []), *inner[split:]]
    check_op(
        "aten.view_copy.default",
        [Arg(bound, dtype_for(seed))],
        lambda x: x.reshape(target),
        args=lambda g, x: (x, target),
        live=singles(live_shapes(rng, bound, [0])),
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(10))
def test_view_copy_with_live_sizes(seed: int) -> None:
    """Sizes as a ValueList of Ints and SymInts; two live dimensions that are merged."""
    rng = rng_for("view live", seed)
    a, b, c = rng.randint(1, 9), rng.randint(1, 9), 2 * rng.randint(1, 4)

    def args(g: GraphBuilder, x: Value) -> list[Any]:
        first, second = (g.symint("sym_size.int", x, d) for d in (0, 1))
        if seed % 2:
            merged = g.symint("mul", first, second)
            return [x, [merged, c // 2, 2]]
        return [x, [1, first, c, second]]

    def reference(x: torch.Tensor) -> torch.Tensor:
        if seed % 2:
            return x.reshape(-1, c // 2, 2)
        return x.reshape(1, x.shape[0], c, x.shape[1])

    check_op(
        "aten.view_copy.default",
        [Arg((a, b, c), dtype_for(seed))],
        reference,
        args=args,
        live=singles(live_shapes(rng, (a, b, c), [0, 1])),
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(15))
def test_unsqueeze_and_squeeze(seed: int) -> None:
    rng = rng_for("squeeze", seed)
    bound = random_shape(rng, rng.randint(1, 5), elements=512)
    dim = rng.randint(-len(bound) - 1, len(bound))
    check_op(
        "aten.unsqueeze_copy.default",
        [Arg(bound, dtype_for(seed))],
        lambda x: x.unsqueeze(dim),
        args=lambda g, x: (x, dim),
        live=singles(live_shapes(rng, bound, subset(rng, len(bound)))),
        tolerance=EXACT,
        key=seed,
    )
    # A dimension that is 1 only now and then stays.
    ones = [i for i, d in enumerate(bound) if d == 1]
    dims = ones + [i - len(bound) for i in range(len(bound)) if bound[i] > 1 and seed % 2]
    dynamic = [i for i in range(len(bound)) if i - len(bound) not in dims]
    check_op(
        "aten.squeeze_copy.dims",
        [Arg(bound, dtype_for(seed))],
        lambda x: x.squeeze(tuple(dims)),
        args=lambda g, x: (x, dims),
        live=singles(live_shapes(rng, bound, dynamic)),
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("name", ["aten.clone.default", "dim_order_ops._clone_dim_order.default"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_clone(name: str, dtype: torch.dtype) -> None:
    rng = rng_for(name, dtype)
    extra = [None] if name.startswith("aten") else [False, None]
    for rank in range(6):
        bound = random_shape(rng, rank, elements=512)
        check_op(
            name,
            [Arg(bound, dtype)],
            torch.clone,
            args=lambda g, x: (x, *extra),
            live=singles(live_shapes(rng, bound, subset(rng, rank))),
            tolerance=EXACT,
            key=rank,
        )


# --- Other orders, and repetition -----------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(30))
def test_permute_copy(seed: int) -> None:
    rng = rng_for("permute", seed)
    rank = seed % 6 + 1
    bound = random_shape(rng, rank, elements=2048)
    dims = rng.sample(range(rank), rank)
    written = [d - rank if rng.random() < 0.3 else d for d in dims]
    check_op(
        ("aten.permute_copy.default", "aten.permute.default")[seed % 4 == 3],
        [Arg(bound, dtype_for(seed // 2))],
        lambda x: x.permute(dims),
        args=lambda g, x: (x, written),
        live=singles(live_shapes(rng, bound, subset(rng, rank))),
        tolerance=EXACT,
        key=seed,
    )


def test_t_copy() -> None:
    for bound in ((3, 7), (5,)):
        check_op("aten.t_copy.default", [Arg(bound)], torch.t, tolerance=EXACT)


def test_permute_of_many_elements() -> None:
    bound = (65536 + 7, 3, 24)
    check_op(
        "aten.permute_copy.default",
        [Arg(bound)],
        lambda x: x.permute(2, 0, 1),
        args=lambda g, x: (x, [2, 0, 1]),
        live=singles([bound, (5, 3, 24)]),
        tolerance=EXACT,
    )


@pytest.mark.parametrize("seed", seeds(15))
def test_expand_copy(seed: int) -> None:
    rng = rng_for("expand", seed)
    out = random_shape(rng, rng.randint(1, 5), elements=1024)
    given = [d if rng.random() < 0.5 else 1 for d in out]
    drop = rng.randint(0, len(out) - 1) if seed % 3 == 0 else 0
    given = given[drop:]
    dynamic = [i for i, d in enumerate(given) if d > 1]
    sizes = [
        -1 if i >= drop and given[i - drop] == d and given[i - drop] > 1 else d
        for i, d in enumerate(out)
    ]
    check_op(
        "aten.expand_copy.default",
        [Arg(tuple(given), dtype_for(seed))],
        lambda x: x.expand(sizes).clone(),
        args=lambda g, x: (x, sizes, False),
        live=singles(live_shapes(rng, tuple(given), dynamic)),
        tolerance=EXACT,
        key=seed,
    )


def test_expand_to_a_live_size() -> None:
    def args(g: GraphBuilder, x: Value, y: Value) -> list[Any]:
        return [y, [g.symint("sym_size.int", x, 0), 4, 6], False]

    check_op(
        "aten.expand_copy.default",
        [Arg((9, 2)), Arg((1, 4, 1))],
        lambda x, y: y.expand(x.shape[0], 4, 6).clone(),
        args=args,
        live=[[(n, 2), (1, 4, 1)] for n in (9, 1, 5, 9, 2)],
        tolerance=EXACT,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_repeat(seed: int) -> None:
    rng = rng_for("repeat", seed)
    bound = random_shape(rng, rng.randint(1, 4), elements=128)
    times = [rng.randint(1, 3) for _ in range(len(bound) + seed % 2)]
    check_op(
        "aten.repeat.default",
        [Arg(bound, dtype_for(seed))],
        lambda x: x.repeat(times),
        args=lambda g, x: (x, times),
        live=singles(live_shapes(rng, bound, subset(rng, len(bound)))),
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(10))
def test_flip(seed: int) -> None:
    rng = rng_for("flip", seed)
    bound = random_shape(rng, rng.randint(1, 4), elements=512)
    dims = rng.sample(range(len(bound)), rng.randint(1, len(bound)))
    check_op(
        "aten.flip.default",
        [Arg(bound, dtype_for(seed))],
        lambda x: x.flip(dims),
        args=lambda g, x: (x, dims),
        live=singles(live_shapes(rng, bound, subset(rng, len(bound)))),
        tolerance=EXACT,
        key=seed,
    )


# --- Memory that views share ----------------------------------------------------------------------


def test_views_of_inputs_constants_and_each_other() -> None:
    """Outputs that are nothing but views, one value given out twice, and a view that is used on."""
    constant = torch.arange(6.0)
    g = GraphBuilder()
    x = g.input(F32, (6, 4))
    flat = g.call("aten.view_copy.default", x, [-1], out=(F32, (24,)))
    pairs = g.call("aten.view_copy.default", flat, [-1, 2], out=(F32, (12, 2)))
    sums = g.call("aten.add.Tensor", pairs, pairs, 1, out=(F32, (12, 2)))
    back = g.call("aten.view_copy.default", sums, [-1, 4], out=(F32, (6, 4)))
    table = g.call("aten.view_copy.default", g.prepack(constant), [2, 3], out=(F32, (2, 3)))
    g.output(flat, pairs, back, back, table, x)
    with g.load() as model:
        for rows in (6, 1, 3, 6, 2):
            value = torch.randn(rows, 4, generator=generator_for(rows))
            got = model.run(value)
            expected = [value.reshape(-1), value.reshape(-1, 2), 2 * value, 2 * value]
            check_outputs(got, [*expected, constant.reshape(2, 3), value], TIGHT, f"{rows} rows")


def test_the_constant_of_a_chain_is_not_written() -> None:
    """A constant's view must not become the place of another result."""
    weights = torch.arange(12.0).reshape(3, 4)
    g = GraphBuilder()
    x = g.input(F32, (3, 4))
    a = g.call("aten.clone.default", g.prepack(weights), None, out=(F32, (3, 4)))
    b = g.call("aten.add.Tensor", a, x, 1, out=(F32, (3, 4)))
    c = g.call("aten.mul.Tensor", b, a, out=(F32, (3, 4)))
    g.output(c, a)
    with g.load() as model:
        for seed in range(4):
            x_live = torch.randn(3, 4, generator=generator_for(seed))
            check_outputs(model.run(x_live), [(weights + x_live) * weights, weights], TIGHT)
