"""Pooling: largest elements, where they are, and means."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from support.capi import ModelError
from support.cases import (
    EXACT,
    F16,
    F32,
    I32,
    NORMAL,
    Arg,
    Shape,
    check_op,
    check_outputs,
    live_shapes,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder

NAN, INF = float("nan"), float("inf")


def random_pool(
    rng: random.Random, dilated: bool
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, stride, padding and dilation."""
    kernel = [rng.randint(1, 4) for _ in range(2)]
    dilation = [rng.choice((1, 1, 2)) if dilated else 1 for _ in range(2)]
    stride = [] if rng.random() < 0.3 else [rng.randint(1, 4) for _ in range(2)]
    padding = [rng.randint(0, k // 2) for k in kernel]
    return kernel, stride, padding, dilation


def random_sizes(
    rng: random.Random, kernel: list[int], dilation: list[int]
) -> tuple[Shape, list[Shape]]:
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    lead = tuple(rng.randint(1, 3) for _ in range(rng.choice((1, 2))))
    bound: Shape = (*lead, *(n + rng.randint(0, 12) for n in least))
    rank = len(bound)
    live = [
        (*s[:-2], *(max(n, e) for n, e in zip(least, s[-2:], strict=True)))
        for s in live_shapes(rng, bound, range(rank))
    ]
    return bound, live


@pytest.mark.parametrize("seed", seeds(24))
@pytest.mark.parametrize("indices", [False, True])
def test_max_pool(indices: bool, seed: int) -> None:
    rng = rng_for("max_pool", seed, indices)
    kernel, stride, padding, dilation = random_pool(rng, True)
    bound, live = random_sizes(rng, kernel, dilation)
    ceil = rng.random() < 0.5
    arguments = (kernel, stride, padding, dilation, ceil)

    def reference(x: torch.Tensor) -> Any:
        values, places = torch.ops.aten.max_pool2d_with_indices(x.float(), *arguments)
        return (values.to(x.dtype), places.to(I32)) if indices else values.to(x.dtype)

    check_op(
        f"aten.max_pool2d{'_with_indices' if indices else ''}.default",
        [Arg(bound, (F32, F16)[seed % 2])],
        reference,
        args=lambda g, x: (x, *arguments),
        live=[[s] for s in live],
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(24))
def test_average_pool(seed: int) -> None:
    rng = rng_for("average_pool", seed)
    kernel, stride, padding, dilation = random_pool(rng, False)
    bound, live = random_sizes(rng, kernel, dilation)
    arguments = (kernel, stride, padding, seed % 2 == 0, seed % 3 == 0, (None, 5)[seed % 4 == 0])
    check_op(
        "aten.avg_pool2d.default",
        [Arg(bound)],
        lambda x: torch.ops.aten.avg_pool2d(x, *arguments),
        args=lambda g, x: (x, *arguments),
        live=[[s] for s in live],
        tolerance=NORMAL,
        key=seed,
    )


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
        [[NAN, 2, 3], [4, NAN, 6], [7, 8, 9]],
        [[-INF, -INF, -INF], [-INF, -INF, -INF], [-INF, -INF, INF]],
        [[-0.0, 0.0, 0.0], [0.0, -0.0, NAN], [INF, -INF, 0.0]],
    ],
)
@pytest.mark.parametrize("padding", [0, 1])
def test_ties_and_edges(rows: list[list[float]], padding: int) -> None:
    """The first of equal elements, the last NaN."""
    x = torch.tensor([rows], dtype=F32)
    arguments = ([2, 2], [1, 1], [padding, padding], [1, 1], False)
    values, places = torch.ops.aten.max_pool2d_with_indices(x, *arguments)
    g = GraphBuilder()
    out = g.call(
        "aten.max_pool2d_with_indices.default",
        g.input(F32, (1, 3, 3)),
        *arguments,
        out=[(F32, tuple(values.shape)), (I32, tuple(places.shape))],
    )
    g.output(*out)
    with g.load() as model:
        check_outputs(model.run(x), [values, places], EXACT)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
def test_a_window_over_padding_alone(sizes: Shape) -> None:
    padding = 2 if sizes[1] == 1 else 3
    arguments = ([2, 2], [1, 1], [1, 1], [padding, padding], False)
    check_op(
        "aten.max_pool2d.default",
        [Arg(sizes, high=-0.5)],
        lambda x: torch.ops.aten.max_pool2d(x, *arguments),
        args=lambda g, x: (x, *arguments),
        tolerance=EXACT,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([0, 2], [1, 1], [0, 0], [1, 1], False), "a kernel of \\[0, 2\\]"),
        (([2, 2], [1, 0], [0, 0], [1, 1], False), "a stride of \\[1, 0\\]"),
        (([2, 2], [1, 1], [2, 0], [1, 1], False), "more than half of a window"),
        (([9, 2], [1, 1], [0, 0], [1, 1], False), "spans 9 elements is larger"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], sentence: str) -> None:
    g = GraphBuilder()
    x = g.input(F32, (1, 4, 8, 8))
    g.output(g.call("aten.max_pool2d.default", x, *arguments, out=(F32, (1, 4, 8, 8))))
    with pytest.raises(ModelError, match=sentence):
        g.load()
