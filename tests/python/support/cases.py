"""One operator against eager torch: a graph of one call, loaded once, run at many live sizes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .capi import ModelError, as_array
from .delegate import GraphBuilder, TensorSpec, Value
from .expected import Expected, Tolerance
from .observer import OBSERVERS

F32 = torch.float32
F16 = torch.float16
I32 = torch.int32
I64 = torch.int64
BOOL = torch.bool

DTYPES = (F32, F16, I32, BOOL, I64)

# dtype, layout, device and pin_memory, as exporters leave them.
DEFAULTS = (None, None, None, False)

Shape = tuple[int, ...]


EXACT = Tolerance(0.0, 0.0)
TIGHT = Tolerance(2e-6, 2e-6)  # one rounding or two: arithmetic, copies with conversion
NORMAL = Tolerance(1e-5, 1e-5)  # transcendental functions and short sums
SUMS = Tolerance(5e-5, 5e-5)  # dot products and long sums, in another order than torch's
HALF = Tolerance(2e-3, 2e-3)  # anything that is stored as f16


@dataclass(frozen=True)
class Arg:
    """A tensor argument: its recorded sizes and the range of its elements."""

    bound: Shape
    dtype: torch.dtype = F32
    low: float = -2.0
    high: float = 2.0
    constant: bool = False

    def sample(self, generator: torch.Generator, shape: Shape | None = None) -> torch.Tensor:
        sizes = self.bound if shape is None else shape
        if self.dtype == BOOL:
            return torch.randint(0, 2, sizes, generator=generator).to(BOOL)
        if not self.dtype.is_floating_point:
            return torch.randint(int(self.low), int(self.high) + 1, sizes, generator=generator).to(
                self.dtype
            )
        return (
            torch.rand(sizes, generator=generator)
            .mul_(self.high - self.low)
            .add_(self.low)
            .to(self.dtype)
        )


def seeds(count: int) -> range:
    """Seeds of `count` random cases; ETWEBGPU_TEST_SCALE takes a share of them (at least one)."""
    scale = float(os.environ.get("ETWEBGPU_TEST_SCALE", "1"))
    return range(max(1, round(count * scale)))


def rng_for(*key: object) -> random.Random:
    """A generator that depends on nothing but `key`."""
    return random.Random(repr(key))


def generator_for(*key: object) -> torch.Generator:
    return torch.Generator().manual_seed(rng_for(*key).getrandbits(31))


def random_shape(rng: random.Random, rank: int, most: int = 9, elements: int = 4096) -> Shape:
    """Odd and even sizes, ones among them, of at most `elements` elements in all."""
    shape = [rng.choice((1, 2, 3, rng.randint(1, most), rng.randint(1, most))) for _ in range(rank)]
    while _product(shape) > elements:
        shape[shape.index(max(shape))] //= 2
    return tuple(shape)


def shrunk(rng: random.Random, bound: Shape, dims: Iterable[int], least: int = 1) -> Shape:
    """`bound` with other sizes, up to the same, in the dimensions `dims`."""
    shape = list(bound)
    for d in dims:
        shape[d] = rng.randint(min(least, bound[d]), bound[d])
    return tuple(shape)


def live_shapes(
    rng: random.Random, bound: Shape, dims: Iterable[int], count: int = 6, least: int = 1
) -> list[Shape]:
    """`count` live sizes that grow and shrink in random order, the bound among them."""
    dims = list(dims)
    if not dims:
        return [bound, bound]
    shapes = [bound] + [shrunk(rng, bound, dims, least) for _ in range(count - 1)]
    rng.shuffle(shapes)
    return shapes


def subset(rng: random.Random, rank: int) -> list[int]:
    """Some of the dimensions 0..rank-1: those that are dynamic in a case."""
    return [d for d in range(rank) if rng.random() < 0.6]


def singles(shapes: list[Shape]) -> list[list[Shape]]:
    """Live sizes of an operator's only tensor."""
    return [[s] for s in shapes]


def dtype_for(seed: int) -> torch.dtype:
    return DTYPES[seed % len(DTYPES)]


def indices(bound: Shape, limit: int, seed: int) -> Arg:
    return Arg(bound, (I32, I64)[seed % 2], 0, limit - 1)


def random_rows(rng: random.Random) -> Shape:
    """Sizes whose last dimension may be long, odd or 1."""
    lead = random_shape(rng, rng.randint(0, 3), most=6, elements=60)
    return (*lead, rng.choice((1, 2, 3, 8, 17, 64, 100, 255, 256, 576, 1000)))


Reference = Callable[..., Any]


def check_op(
    name: str,
    arguments: Sequence[Arg],
    reference: Reference,
    *,
    args: Callable[..., Sequence[Any]] | None = None,
    live: Sequence[Sequence[Shape]] | None = None,
    tolerance: Tolerance = NORMAL,
    out: list[TensorSpec] | None = None,
    key: object = None,
) -> None:
    """Run one call at every live size and compare it with `reference`.

    Args:
        name: the operator, as serialized.
        arguments: its tensor arguments; those that are constant keep their values.
        reference: maps the tensors to the expected output, or to a tuple of outputs.
        args: maps the builder and the tensors' values to the call's arguments, where these are
            more than the tensors alone.
        live: sizes of the arguments (of all, in order) for each run; the bounds when not given.
        out: dtype and bound of each output, where it is not what `reference` gives at the bounds.
        key: what the elements depend on, apart from the operator's name.
    """
    generator = generator_for(name, key)
    at_bound = [a.sample(generator) for a in arguments]
    expected = _outputs(reference(*at_bound))
    specs = out or [(t.dtype, tuple(t.shape)) for t in expected]

    graph = GraphBuilder()
    values: list[Value] = []
    for argument, tensor in zip(arguments, at_bound, strict=True):
        if argument.constant:
            values.append(graph.constant(tensor))
        else:
            values.append(graph.input(argument.dtype, argument.bound))
    call_args = list(values) if args is None else list(args(graph, *values))
    if len(specs) == 1 and not isinstance(reference(*at_bound), tuple):
        results = [graph.call(name, *call_args, out=specs[0])]
    else:
        results = graph.call(name, *call_args, out=list(specs))
    graph.output(*results)

    with graph.load() as model:
        for shapes in live or [[a.bound for a in arguments]]:
            tensors = [
                fixed if a.constant else a.sample(generator, shape)
                for a, fixed, shape in zip(arguments, at_bound, shapes, strict=True)
            ]
            given = [t for a, t in zip(arguments, tensors, strict=True) if not a.constant]
            where = f"{name} of sizes {[tuple(t.shape) for t in tensors]}"
            try:
                got = model.run(*given)
            except ModelError as error:
                raise AssertionError(f"{where}: {error}") from error
            check_outputs(got, _outputs(reference(*tensors)), tolerance, where)


def check_outputs(
    got: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    tolerance: Tolerance,
    where: str = "",
) -> None:
    """Same number, sizes and dtypes, and close enough elements.

    Floats of 64 bits arrive in 32; integers in 64 bits where any input has as many, else in 32.
    """
    assert len(got) == len(expected), where
    for index, (g, e) in enumerate(zip(got, expected, strict=True)):
        check_output(g, [e], tolerance, f"{where}, output {index}")


def check_output(
    got: torch.Tensor,
    alternatives: Sequence[torch.Tensor],
    tolerance: Tolerance,
    where: str = "",
) -> None:
    """As check_outputs; every element is that of one of the alternatives."""
    dtype = alternatives[0].dtype
    arrays = [as_array(a.float() if a.dtype == torch.float64 else a) for a in alternatives]
    expected = Expected(arrays, _tolerance_of(dtype, tolerance))
    for observer in OBSERVERS:
        observer.checks(got, expected)
    difference = expected.difference(as_array(got))
    if difference:
        raise AssertionError(f"{where} {difference}")


def _tolerance_of(dtype: torch.dtype, tolerance: Tolerance) -> Tolerance:
    if not dtype.is_floating_point:
        return EXACT
    if dtype == F16:
        return Tolerance(HALF.relative, max(HALF.absolute, tolerance.absolute))
    return tolerance


def _outputs(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _product(sizes: Iterable[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
