"""Operators that move elements: views, slices, permutations, concatenation, gathering, filling."""

from __future__ import annotations

import math
import random
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
from support.delegate import GraphBuilder, Value

DTYPES = (F32, F16, I32, BOOL, I64)
INT64_MAX = (1 << 63) - 1


def dtype_for(seed: int) -> torch.dtype:
    return DTYPES[seed % len(DTYPES)]


def singles(shapes: list[Shape]) -> list[list[Shape]]:
    return [[s] for s in shapes]


# --- Views --------------------------------------------------------------------------------------


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


# --- Slices -------------------------------------------------------------------------------------


def slice_along(x: torch.Tensor, dim: int, start: Any, end: Any, step: int) -> torch.Tensor:
    return torch.ops.aten.slice_copy.Tensor(x, dim, start, end, step)


@pytest.mark.parametrize("seed", seeds(40))
def test_slice_copy(seed: int) -> None:
    """Bounds that are negative, past the end, or missing; the sliced dimension may be live."""
    rng = rng_for("slice", seed)
    bound = random_shape(rng, rng.randint(1, 5), elements=1024)
    dim = rng.randint(-len(bound), len(bound) - 1)
    size = bound[dim]
    start = rng.choice((None, 0, rng.randint(0, size), -rng.randint(1, size)))
    end = rng.choice((None, INT64_MAX, rng.randint(0, size + 3), -rng.randint(1, size)))
    step = rng.choice((1, 1, 2, 3))
    args = (dim, start, end, step)
    # The recorded bound must hold every live size: it is largest where the input is.
    shapes = live_shapes(rng, bound, subset(rng, len(bound)))
    x = torch.empty(bound)
    most = list(slice_along(x, *args).shape)
    for shape in shapes:
        live = slice_along(torch.empty(shape), *args).shape
        most = [max(a, b) for a, b in zip(most, live, strict=True)]
    check_op(
        "aten.slice_copy.Tensor",
        [Arg(bound, dtype_for(seed))],
        lambda x: slice_along(x, *args),
        args=lambda g, x: (x, *args),
        live=singles(shapes),
        tolerance=EXACT,
        out=[(dtype_for(seed), most)],
        key=seed,
    )


def test_slice_between_live_positions() -> None:
    """The rows [pos, pos + S) of a table: how positional tables are read."""
    table = torch.randn(64, 5)
    g = GraphBuilder()
    x = g.input(F32, (1, 20))
    pos = g.input(I64, (1,))
    rows = g.prepack(table)
    start = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    length = g.symint("sym_size.int", x, 1)
    end = g.symint("add", start, length)
    g.output(g.call("aten.slice_copy.Tensor", rows, 0, start, end, 1, out=(F32, (20, 5))))
    with g.load() as model:
        for start_at, count in (
            (0, 20),
            (44, 20),
            (3, 1),
            (4, 1),
            (5, 1),
            (40, 7),
            (0, 1),
            (63, 1),
        ):
            got = model.run(torch.zeros(1, count), torch.tensor([start_at]))
            check_outputs(got, [table[start_at : start_at + count]], EXACT, f"rows from {start_at}")


@pytest.mark.parametrize("seed", seeds(20))
def test_select_copy(seed: int) -> None:
    rng = rng_for("select", seed)
    bound = random_shape(rng, rng.randint(1, 5), elements=1024)
    dim = rng.randint(-len(bound), len(bound) - 1)
    index = rng.choice((0, -1))
    check_op(
        "aten.select_copy.int",
        [Arg(bound, dtype_for(seed))],
        lambda x: x.select(dim, index),
        args=lambda g, x: (x, dim, index),
        live=singles(live_shapes(rng, bound, subset(rng, len(bound)))),
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(12))
def test_split_with_sizes_copy(seed: int) -> None:
    rng = rng_for("split", seed)
    bound = list(random_shape(rng, rng.randint(1, 4), elements=512))
    dim = rng.randint(0, len(bound) - 1)
    parts = [rng.randint(1, 5) for _ in range(rng.choice((1, 2, 3, 9)))]
    bound[dim] = sum(parts)
    dynamic = [d for d in subset(rng, len(bound)) if d != dim]
    written = dim - len(bound) if seed % 2 else dim
    check_op(
        "aten.split_with_sizes_copy.default",
        [Arg(tuple(bound), dtype_for(seed))],
        lambda x: tuple(t.clone() for t in x.split(parts, dim)),
        args=lambda g, x: (x, parts, written),
        live=singles(live_shapes(rng, tuple(bound), dynamic)),
        tolerance=EXACT,
        key=seed,
    )


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


# --- Gathering ----------------------------------------------------------------------------------


def indices(bound: Shape, limit: int, seed: int) -> Arg:
    return Arg(bound, (I32, I64)[seed % 2], 0, limit - 1)


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


@pytest.mark.parametrize("seed", seeds(16))
def test_embedding(seed: int) -> None:
    rng = rng_for("embedding", seed)
    rows, width = rng.randint(1, 40), rng.choice((1, 3, 8, 33, 64))
    bound = random_shape(rng, rng.randint(0, 3), elements=64)
    dtype = (F32, F16)[seed % 4 == 3]
    check_op(
        "aten.embedding.default",
        [Arg((rows, width), dtype, constant=seed % 3 != 0), indices(bound, rows, seed)],
        lambda w, i: F.embedding(i, w),
        args=lambda g, w, i: (w, i, -1, False, False),
        live=[[(rows, width), s] for s in live_shapes(rng, bound, subset(rng, len(bound)))],
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(8))
def test_unfold_copy(seed: int) -> None:
    rng = rng_for("unfold", seed)
    bound = list(random_shape(rng, rng.randint(1, 4), elements=128))
    dim = rng.randint(0, len(bound) - 1)
    bound[dim] = rng.randint(4, 11)
    size, step = rng.randint(1, 4), rng.randint(1, 3)
    check_op(
        "aten.unfold_copy.default",
        [Arg(tuple(bound))],
        lambda x: x.unfold(dim, size, step).clone(),
        args=lambda g, x: (x, dim, size, step),
        live=singles(live_shapes(rng, tuple(bound), subset(rng, len(bound)), least=4)),
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


# --- Filling ------------------------------------------------------------------------------------

NONE4 = (None, None, None, False)


@pytest.mark.parametrize("dtype", [F32, F16, I32, BOOL])
def test_full(dtype: torch.dtype) -> None:
    values = (0, 1) if dtype == BOOL else (0, 7, -3) if dtype == I32 else (0, 2.5, -math.inf, 1)
    for value in values:
        check_op(
            "aten.full.default",
            [Arg((9, 2))],
            lambda x, value=value: torch.full((x.shape[0], 3), value, dtype=dtype),
            args=lambda g, x, value=value: ([g.symint("sym_size.int", x, 0), 3], value, *NONE4),
            live=singles([(9, 2), (1, 2), (4, 2), (9, 2)]),
            tolerance=EXACT,
        )
        check_op(
            "aten.full_like.default",
            [Arg((4, 5), dtype)],
            lambda x, value=value: torch.full_like(x, value),
            args=lambda g, x, value=value: (x, value, *NONE4, None),
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
        args=lambda g, x: ([g.symint("sym_size.int", x, 0), 2], *NONE4),
        live=singles([(6, 2), (2, 2), (5, 2)]),
        tolerance=EXACT,
    )
    check_op(
        f"aten.{name}_like.default",
        [Arg((6, 2), I32)],
        getattr(torch, f"{name}_like"),
        args=lambda g, x: (x, *NONE4, None),
        live=singles([(6, 2), (2, 2), (5, 2)]),
        tolerance=EXACT,
    )


def test_scalar_tensor() -> None:
    for value, dtype in ((0, F32), (2.5, F32), (-3, I32)):
        g = GraphBuilder()
        x = g.input(dtype, (3,))
        filled = g.call("aten.scalar_tensor.default", value, *NONE4, out=(dtype, ()))
        g.output(filled, g.call("aten.mul.Tensor", x, filled, out=(dtype, (3,))))
        with g.load() as model:
            ones = torch.ones(3, dtype=dtype)
            expected = torch.tensor(value, dtype=dtype)
            check_outputs(model.run(ones), [expected, ones * expected], EXACT)


@pytest.mark.parametrize("dtype", [I32, F32])
def test_arange(dtype: torch.dtype) -> None:
    def live_end(g: GraphBuilder, x: Value) -> list[Any]:
        return [0, g.symint("sym_size.int", x, 0), 1, *NONE4]

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
            args=lambda g, x, a=(start, end, step): (*a, *NONE4),
            tolerance=EXACT,
        )


def test_arange_from_a_live_position() -> None:
    """Positions [pos, pos + S): both ends change between calls, the length sometimes not."""
    g = GraphBuilder()
    x = g.input(F32, (8,))
    pos = g.input(I64, (1,))
    start = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    end = g.symint("add", start, g.symint("sym_size.int", x, 0))
    g.output(g.call("aten.arange.start_step", start, end, 1, *NONE4, out=(I32, (8,))))
    with g.load() as model:
        for at, count in ((0, 8), (3, 8), (100, 8), (7, 1), (8, 1), (9, 1), (2, 5), (3, 5)):
            got = model.run(torch.zeros(count), torch.tensor([at]))
            check_outputs(got, [torch.arange(at, at + count)], EXACT)


# --- Memory that views share --------------------------------------------------------------------


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


def test_symint_feeds_a_view_of_another_tensor() -> None:
    g = GraphBuilder()
    x = g.input(F32, (5, 3))
    y = g.input(F32, (15,))
    rows = g.symint("sym_size.int", x, 0)
    g.output(g.call("aten.view_copy.default", y, [rows, 3], out=(F32, (5, 3))))
    with g.load() as model:
        for n in (5, 2, 4):
            y_live = torch.randn(3 * n, generator=generator_for(n))
            check_outputs(model.run(torch.zeros(n, 3), y_live), [y_live.reshape(n, 3)], EXACT)


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


def _symint_graph(steps: list[tuple[str, int]], rng: random.Random) -> None:
    g = GraphBuilder()
    x = g.input(F32, (50, 1))
    value = g.symint("sym_size.int", x, 0)
    for name, operand in steps:
        value = g.symint(name, value, operand)
    g.output(g.call("aten.full.default", [value], 1, *NONE4, out=(F32, (5000,))))
    with g.load() as model:
        for n in rng.sample(range(20, 51), 8):
            expected = n
            for name, operand in steps:
                expected = {
                    "add": expected + operand,
                    "sub": expected - operand,
                    "mul": expected * operand,
                    "floordiv": expected // operand,
                }[name]
            check_outputs(model.run(torch.zeros(n, 1)), [torch.ones(expected)], EXACT, str(steps))


@pytest.mark.parametrize("seed", seeds(8))
def test_symint_arithmetic(seed: int) -> None:
    rng = rng_for("symint", seed)
    steps = [("mul", rng.randint(1, 9)), ("sub", rng.randint(1, 5)), ("floordiv", 3), ("add", 2)]
    rng.shuffle(steps)
    _symint_graph(steps, rng)


def test_symint_division_of_negative_numbers_floors() -> None:
    g = GraphBuilder()
    pos = g.input(I64, (2,))
    a = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    b = g.symint("et_vk.select_as_symint.default", pos, 0, -1)
    size = g.symint("add", g.symint("floordiv", a, b), 20)
    g.output(g.call("aten.full.default", [size], 1, *NONE4, out=(F32, (64,))))
    with g.load() as model:
        for x, y in ((7, 2), (-7, 2), (7, -2), (-7, -2), (0, 5), (-8, 4)):
            got = model.run(torch.tensor([x, y]))
            check_outputs(got, [torch.ones(x // y + 20)], EXACT, f"{x} // {y}")


def test_symint_as_a_graph_input() -> None:
    g = GraphBuilder()
    x = g.input(F32, (10, 2))
    n = g.symint_input()
    g.output(g.call("aten.slice_copy.Tensor", x, 0, n, 10, 1, out=(F32, (10, 2))))
    with g.load() as model:
        x_live = torch.randn(10, 2, generator=generator_for(0))
        for start in (0, 9, 3, 3, 10):
            check_outputs(model.run(x_live, start), [x_live[start:]], EXACT, f"from {start}")


def test_select_as_symint_reads_any_position() -> None:
    g = GraphBuilder()
    table = g.input(I32, (1, 4))
    row = g.symint("et_vk.select_as_symint.default", table, 1, -2)
    g.output(g.call("aten.full.default", [2, 2], 1, *NONE4, out=(F32, (2, 2))))
    g.output(g.call("aten.full.default", [row], 1, *NONE4, out=(F32, (50,))))
    with g.load() as model:
        for seed in range(5):
            values = torch.randint(1, 50, (1, 4), generator=generator_for(seed)).to(I32)
            expected = int(values[0, -2])
            got = model.run(values)
            check_outputs(got, [torch.ones(2, 2), torch.ones(expected)], EXACT)
