"""The first elements of rows: topk."""

from __future__ import annotations

import math

import pytest
import torch
from support.capi import ModelError
from support.cases import (
    EXACT,
    F16,
    F32,
    I32,
    I64,
    Shape,
    check_outputs,
    generator_for,
    random_shape,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder


def topk_graph(
    bound: Shape, k: int, dim: int, largest: bool, is_sorted: bool, dtype: torch.dtype = F32
) -> GraphBuilder:
    g = GraphBuilder()
    out = list(bound)
    if out:
        out[dim] = k
    args = g.input(dtype, bound), k, dim, largest, is_sorted
    g.output(*g.call("aten.topk.default", *args, out=[(dtype, out), (I64, out)]))
    return g


def check_topk(
    x: torch.Tensor, got: list[torch.Tensor], k: int, dim: int, largest: bool, where: object
) -> None:
    """Values as eager has them; of equals those that stand first, in order."""
    values = torch.topk(x, k, dim, largest).values
    order = torch.sort(x, dim=dim, descending=largest, stable=True).indices
    check_outputs(got, [values, order.narrow(dim, 0, k) if x.dim() else order], EXACT, str(where))


@pytest.mark.parametrize("seed", seeds(60))
def test_topk(seed: int) -> None:
    """Any dimension, k up to all; rounded numbers, so that many are equal."""
    rng = rng_for("topk", seed)
    bound = list(random_shape(rng, rng.randint(1, 4), most=7, elements=600))
    dim = rng.randrange(len(bound))
    bound[dim] = rng.choice((1, 2, 5, 16, 33, 100, 300))
    k = rng.choice((1, 2, bound[dim], rng.randint(0, bound[dim])))
    k = min(k, bound[dim])
    largest, is_sorted = seed % 2 == 0, seed % 3 != 0
    dtype = F16 if seed % 7 == 6 else F32
    generator = generator_for("topk", seed)
    given = dim - len(bound) if seed % 5 == 0 else dim
    with topk_graph(tuple(bound), k, given, largest, is_sorted, dtype).load() as model:
        for _ in range(3):
            shape = [n if d == dim else rng.randint(0, n) for d, n in enumerate(bound)]
            x = (torch.randn(shape, generator=generator) * 4).round().to(dtype)
            x = x / 2 if seed % 4 else x
            check_topk(x, model.run(x), k, dim, largest, (shape, k, dim))


@pytest.mark.parametrize("largest", [True, False])
def test_topk_of_what_is_no_number(largest: bool) -> None:
    """NaN is above all numbers; the two zeros are one, and the first of them comes first."""
    nan, inf = math.nan, math.inf
    row = torch.tensor([0.0, nan, -0.0, inf, -inf, 3.0, -nan, 3.0, -3.4e38, 3.4e38, -inf, 0.0])
    with topk_graph((12,), 12, 0, largest, True).load() as model:
        check_topk(row, model.run(row), 12, 0, largest, "all")


def test_topk_of_a_scalar() -> None:
    with topk_graph((), 1, -1, True, True).load() as model:
        check_outputs(model.run(torch.tensor(3.0)), [torch.tensor(3.0), torch.tensor(0)], EXACT)


def test_topk_of_a_long_row() -> None:
    x = torch.randn(2, 1, 20000, generator=generator_for("long"))
    with topk_graph((2, 1, 20000), 32, -1, True, True).load() as model:
        check_topk(x, model.run(x), 32, 2, True, "20,000")


def test_how_many_may_be_live() -> None:
    g = GraphBuilder()
    x, k = g.input(F32, (3, 9)), g.symint_input()
    outs = [(F32, (3, 9)), (I64, (3, 9))]
    g.output(*g.call("aten.topk.default", x, k, 1, True, True, out=outs))
    values = torch.randn(3, 9, generator=generator_for("live"))
    with g.load() as model:
        for count in (4, 9, 1, 0, 5):
            check_topk(values, model.run(values, count), count, 1, True, count)
        with pytest.raises(ModelError, match="there are no 10 among the 9 elements of dimension 1"):
            model.run(values, 10)
        check_topk(values, model.run(values, 2), 2, 1, True, "after an error")


def test_topk_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match="there are no 6 among the 5 elements of dimension 0"):
        topk_graph((5,), 6, 0, True, True).load()
    with pytest.raises(ModelError, match="there are no -1 among the 5"):
        g = GraphBuilder()
        outs = [(F32, (5,)), (I64, (5,))]
        g.output(*g.call("aten.topk.default", g.input(F32, (5,)), -1, 0, True, True, out=outs))
        g.load()
    with pytest.raises(ModelError, match="topk of int32"):
        topk_graph((5,), 2, 0, True, True, I32).load()
    with pytest.raises(ModelError, match=r"dimension 1 is outside \[-1, 0\]"):
        g = GraphBuilder()
        outs = [(F32, (2,)), (I64, (2,))]
        g.output(*g.call("aten.topk.default", g.input(F32, (5,)), 2, 1, True, True, out=outs))
        g.load()
