"""Elements that go where an index tensor says: scatter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.capi import ModelError
from support.cases import (
    BOOL,
    DTYPES,
    EXACT,
    F32,
    I32,
    I64,
    Arg,
    Shape,
    check_outputs,
    generator_for,
    random_shape,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder


def scatter_graph(
    sizes: Shape, dim: int, index: Shape, source: Shape | float, dtype: torch.dtype, **other: Any
) -> GraphBuilder:
    g = GraphBuilder()
    x = g.input(dtype, sizes)
    at = g.input(other.get("index_dtype", I64), index)
    form = "src" if isinstance(source, tuple) else "value"
    given = g.input(other.get("source_dtype", dtype), source) if form == "src" else source
    name = other.get("name", f"aten.scatter.{form}")
    g.output(g.call(name, x, dim, at, given, out=(dtype, sizes)))
    return g


@pytest.mark.parametrize("seed", seeds(70))
def test_scatter(seed: int) -> None:
    """Indices that come more than once among them, of which the last stays."""
    rng = rng_for("scatter", seed)
    sizes = random_shape(rng, rng.randint(1, 4), most=9, elements=500)
    dim = rng.randrange(len(sizes))
    source = [n + rng.randint(0, 2) for n in sizes]
    source[dim] = rng.choice((1, 3, 2 * sizes[dim], 40))
    index = [min(a, b) - rng.choice((0, 0, 1)) for a, b in zip(sizes, source, strict=True)]
    index = [max(n, 1) for n in index]
    index[dim] = source[dim]
    dtype = DTYPES[seed % len(DTYPES)]
    number = {F32: 1.5, BOOL: True}.get(dtype, 3)
    by_number = seed % 3 == 2
    given: Any = number if by_number else tuple(source)
    generator = generator_for("scatter", seed)
    index_dtype = (I64, I32)[seed // 2 % 2]
    graph = scatter_graph(sizes, dim, tuple(index), given, dtype, index_dtype=index_dtype)
    with graph.load() as model:
        for step in range(3):
            live = list(sizes)
            at = list(index)
            if step == 1:  # smaller, where that fits
                at = [rng.randint(0, n) for n in at]
            x = Arg(tuple(live), dtype, -9, 9).sample(generator)
            where = torch.randint(0, sizes[dim], at, generator=generator)
            if by_number:
                expected, inputs = x.scatter(dim, where, number), [x, where.to(index_dtype)]
            else:
                values = Arg(tuple(source), dtype, -9, 9).sample(generator)
                expected = x.scatter(dim, where, values)
                inputs = [x, where.to(index_dtype), values]
            check_outputs(model.run(*inputs), [expected], EXACT, f"{sizes} {dim} {at}")


def test_scatter_of_unique_indices() -> None:
    name = "et_vk.scatter_src_unique.default"
    x, source = torch.zeros(1, 1, 500), torch.randn(1, 1, 60, generator=generator_for("unique"))
    where = torch.randperm(500, generator=generator_for("places"))[:60].reshape(1, 1, 60)
    with scatter_graph((1, 1, 500), -1, (1, 1, 60), (1, 1, 60), F32, name=name).load() as model:
        check_outputs(model.run(x, where, source), [x.scatter(-1, where, source)], EXACT)


def test_indices_that_are_out_of_range_go_nowhere() -> None:
    x, source = torch.zeros(4), torch.arange(1.0, 6.0)
    with scatter_graph((4,), 0, (5,), (5,), F32).load() as model:
        got = model.run(x, torch.tensor([1, -1, 4, 3, 1 << 30]), source)
        check_outputs(got, [torch.tensor([0.0, 1.0, 0.0, 4.0])], EXACT)


def test_scatter_into_a_scalar() -> None:
    with scatter_graph((), 0, (), (), F32).load() as model:
        got = model.run(torch.tensor(1.0), torch.tensor(0), torch.tensor(2.0))
        check_outputs(got, [torch.tensor(2.0)], EXACT)


def test_scatter_over_what_it_reads() -> None:
    """A buffer of the delegate that is scattered into, in place."""
    g = GraphBuilder()
    state = g.constant(torch.zeros(2, 5))
    where, source = g.input(I64, (2, 2)), g.input(F32, (2, 2))
    g.call("aten.scatter.src", state, 1, where, source, out=state)
    g.output(g.call("aten.mul.Tensor", state, 2.0, out=(F32, (2, 5))))
    expected = torch.zeros(2, 5)
    with g.load() as model:
        for step in range(4):
            generator = generator_for("in place", step)
            at = torch.randint(0, 5, (2, 2), generator=generator)
            values = torch.randn(2, 2, generator=generator)
            expected.scatter_(1, at, values)
            check_outputs(model.run(at, values), [2 * expected], EXACT)


@pytest.mark.parametrize(
    ("sizes", "dim", "index", "source", "says"),
    [
        ((3, 4), 1, (4, 4), (4, 4), r"an index of sizes \[4, 4\] does not fit sizes \[3, 4\]"),
        ((3, 4), 1, (3,), (3,), r"an index of sizes \[3\] does not fit sizes \[3, 4\]"),
        ((3, 4), 1, (3, 5), (3, 4), r"index of sizes \[3, 5\] does not fit a source .* \[3, 4\]"),
        ((3, 4), 2, (3, 4), (3, 4), r"dimension 2 is outside \[-2, 1\]"),
    ],
)
def test_scatter_refuses_what_does_not_fit(
    sizes: Shape, dim: int, index: Shape, source: Shape, says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        scatter_graph(sizes, dim, index, source, F32).load()


def test_scatter_refuses_other_types() -> None:
    with pytest.raises(ModelError, match="a source of type int32 into float32"):
        scatter_graph((3,), 0, (3,), (3,), F32, source_dtype=I32).load()
    with pytest.raises(ModelError, match="an index tensor of float32 is not supported"):
        scatter_graph((3,), 0, (3,), (3,), F32, index_dtype=F32).load()
