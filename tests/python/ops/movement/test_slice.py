"""Parts of a tensor: slices, selections, splits and windows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.cases import (
    EXACT,
    F32,
    I64,
    Arg,
    check_op,
    check_outputs,
    dtype_for,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    singles,
    subset,
)
from support.delegate import GraphBuilder

INT64_MAX = (1 << 63) - 1


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
