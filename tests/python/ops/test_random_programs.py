"""Random chains of moving and arithmetic operators against eager torch.

They show what single operators do not: views of views, memory that is used again, sizes of zero, a
start that moves, what infinities, NaN and the largest integers become on their way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from support.cases import BOOL, F32, I32, I64, TIGHT, check_outputs, generator_for, rng_for, seeds
from support.delegate import GraphBuilder, Value

MOST_ELEMENTS = 4096
MOST_RANK = 6
INT64_MAX = (1 << 63) - 1
EDGES = {
    F32: torch.tensor(
        [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), float("nan"), 1e30, -2.5]
    ),
    I32: torch.tensor([0, 1, -1, 2**31 - 1, -(2**31), 65536, -65537, 12345], dtype=I32),
    I64: torch.tensor([0, 1, -1, 2**31, -(2**31) - 1, 2**40 + 1, 2**63 - 1, -(2**63), -(2**52)]),
}

Function = Callable[..., torch.Tensor]


@dataclass
class Run:
    """The inputs' live size, the position, and what every value of the program is then."""

    size: int
    position: int
    values: list[torch.Tensor] = field(default_factory=list)


class Program:
    """Grows call by call; every value is computed at once in torch for every run."""

    def __init__(self, rng: random.Random, integer: torch.dtype, edges: bool) -> None:
        self.rng = rng
        self.integer = integer
        self.edges = edges  # the inputs hold what is no ordinary number
        self.graph = GraphBuilder()
        self.values: list[Value] = []
        most = rng.randint(2, 9)
        sizes = [most, most, 1, rng.randint(0, most), rng.randint(1, most)]
        self.runs = [Run(n, rng.randint(0, 6) if i else 0) for i, n in enumerate(sizes)]
        for _ in range(rng.randint(1, 3)):
            self._add_input(most)
        self.inputs = len(self.values)
        position = self.graph.input(I32, (1,))
        self.position = self.graph.symint("et_vk.select_as_symint.default", position, 0, 0)

    def _add_input(self, most: int) -> None:
        bound = [self.rng.choice((1, 2, 3, 4, 5, 8)) for _ in range(self.rng.randint(1, 4))]
        live = self.rng.randrange(len(bound)) if self.rng.random() < 0.7 else None
        dtype = self.rng.choice((F32, F32, F32, self.integer))
        for run in self.runs:
            shape = [run.size if d == live else n for d, n in enumerate(bound)]
            generator = generator_for("program input", self.rng.random())
            run.values.append(self._elements(shape, dtype, generator))
        if live is not None:
            bound[live] = most
        self.values.append(self.graph.input(dtype, bound))

    def _elements(
        self, shape: list[int], dtype: torch.dtype, generator: torch.Generator
    ) -> torch.Tensor:
        if not self.edges:
            return torch.randint(-5, 6, shape, generator=generator).to(dtype)
        chosen = torch.randint(0, len(EDGES[dtype]), shape, generator=generator)
        return EDGES[dtype][chosen]

    def call(
        self, name: str, args: Sequence[Any], function: Function, operands: Sequence[int]
    ) -> None:
        """Append the call, unless torch refuses it at the sizes of any run."""
        results = []
        for run in self.runs:
            try:
                result = function(run, *(run.values[i] for i in operands))
            except (RuntimeError, IndexError):
                return
            results.append(result.to(self.integer) if result.dtype == I64 else result)
        first = results[0]
        # Whole numbers stay small enough for f32 to hold exactly.
        big = not self.edges and any((r.float().abs() > 1e6).any() for r in results)
        big = big or any(r.numel() > MOST_ELEMENTS for r in results)
        if big or any(r.dim() != first.dim() or r.dim() > MOST_RANK for r in results):
            return
        bound = [max(extents) for extents in zip(*(r.shape for r in results), strict=True)]
        self.values.append(self.graph.call(name, *args, out=(first.dtype, bound)))
        for run, result in zip(self.runs, results, strict=True):
            run.values.append(result.clone(memory_format=torch.contiguous_format))

    def pick(self, accept: Callable[[torch.Tensor], bool] = lambda _: True) -> int | None:
        found = [i for i, t in enumerate(self.runs[0].values) if accept(t)]
        return self.rng.choice(found) if found else None

    def sample(self, index: int) -> torch.Tensor:
        return self.runs[0].values[index]


Step = Callable[[Program, random.Random], None]


def _unary(p: Program, rng: random.Random) -> None:
    names: dict[str, Function] = {"abs": torch.abs, "neg": torch.neg, "relu": torch.relu}
    i = p.pick(lambda t: t.dtype == F32)
    if i is not None:
        name = rng.choice(list(names))
        p.call(f"aten.{name}.default", [p.values[i]], lambda _, x: names[name](x), [i])


def _binary(p: Program, rng: random.Random) -> None:
    i = p.pick(lambda t: t.dtype != BOOL)
    j = None if i is None else p.pick(lambda t: t.dtype == p.sample(i).dtype)
    if i is None or j is None:
        return
    name, extra, function = rng.choice(
        (
            ("aten.add.Tensor", [2], lambda _, x, y: torch.add(x, y, alpha=2)),
            ("aten.sub.Tensor", [1], lambda _, x, y: x - y),
            ("aten.mul.Tensor", [], lambda _, x, y: x * y),
            ("aten.lt.Tensor", [], lambda _, x, y: x < y),
        )
    )
    p.call(name, [p.values[i], p.values[j], *extra], function, [i, j])


def _where(p: Program, rng: random.Random) -> None:
    i = p.pick(lambda t: t.dtype == BOOL)
    j = p.pick(lambda t: t.dtype == F32)
    k = p.pick(lambda t: t.dtype == F32)
    if i is not None and j is not None and k is not None:
        args = [p.values[n] for n in (i, j, k)]
        p.call("aten.where.self", args, lambda _, c, x, y: torch.where(c, x, y), [i, j, k])


def _convert(p: Program, rng: random.Random) -> None:
    i = p.pick()
    to = rng.choice((F32, p.integer, BOOL))
    assert i is not None
    args = [p.values[i], None, None, None, None, False, None]
    p.call("aten._to_copy.default", args, lambda _, x: x.to(to), [i])


def _cat(p: Program, rng: random.Random) -> None:
    i = p.pick(lambda t: t.dim() > 0)
    if i is None:
        return
    like = p.sample(i)
    others = [
        p.pick(lambda t: t.dtype == like.dtype and t.dim() == like.dim())
        for _ in range(rng.randint(0, 9))
    ]
    indices = [i, *(o for o in others if o is not None)]
    dim = rng.randrange(like.dim())
    args = [[p.values[n] for n in indices], dim]
    p.call("aten.cat.default", args, lambda _, *t: torch.cat(t, dim), indices)


def _with_dim(
    make: Callable[[Program, random.Random, int, int], tuple[str, list[Any], Function]],
) -> Step:
    """A step over one operand of rank 1 or more and one of its dimensions."""

    def step(p: Program, rng: random.Random) -> None:
        i = p.pick(lambda t: t.dim() > 0)
        if i is None:
            return
        rank = p.sample(i).dim()
        name, args, function = make(p, rng, rank, rng.randrange(rank))
        p.call(name, [p.values[i], *args], function, [i])

    return step


def _permute(p: Program, rng: random.Random, rank: int, _: int) -> Any:
    order = rng.sample(range(rank), rank)
    return "aten.permute_copy.default", [order], lambda _, x: x.permute(order)


def _slice(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    args = (
        dim,
        rng.choice((None, rng.randint(-4, 4))),
        rng.choice((None, INT64_MAX, rng.randint(-4, 6))),
        rng.choice((1, 1, 2, 3)),
    )
    return (
        "aten.slice_copy.Tensor",
        [*args],
        lambda _, x: torch.ops.aten.slice_copy.Tensor(x, *args),
    )


def _slice_from_position(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    return (
        "aten.slice_copy.Tensor",
        [dim, p.position, None, 1],
        lambda run, x: torch.ops.aten.slice_copy.Tensor(x, dim, run.position, None, 1),
    )


def _select(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    if rng.random() < 0.5:
        return "aten.select_copy.int", [dim, -1], lambda _, x: x.select(dim, -1)
    return (
        "aten.select_copy.int",
        [dim, p.position],
        lambda run, x: x.select(dim, run.position),
    )


def _unsqueeze(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    return "aten.unsqueeze_copy.default", [dim], lambda _, x: x.unsqueeze(dim)


def _flatten(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    return "aten.view_copy.default", [[-1]], lambda _, x: x.reshape(-1)


def _clone(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    return "aten.clone.default", [None], lambda _, x: x.clone()


def _repeat(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    times = [rng.randint(1, 3) for _ in range(rank + rng.randint(0, 1))]
    return "aten.repeat.default", [times], lambda _, x: x.repeat(times)


def _expand(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    sizes = [rng.randint(1, 3)] + [-1] * rank
    return "aten.expand_copy.default", [sizes, False], lambda _, x: x.expand(sizes)


def _flip(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    dims = rng.sample(range(rank), rng.randint(1, rank))
    return "aten.flip.default", [dims], lambda _, x: x.flip(dims)


def _pad(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    pads = [rng.randint(-1, 2) for _ in range(2 * rng.randint(1, rank))]
    return (
        "aten.constant_pad_nd.default",
        [pads, 1],
        lambda _, x: torch.constant_pad_nd(x, pads, 1),
    )


def _index_select(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    index = torch.zeros(rng.randint(1, 4), dtype=I32)
    return (
        "aten.index_select.default",
        [dim, p.graph.constant(index)],
        lambda _, x: x.index_select(dim, index),
    )


def _full_like(p: Program, rng: random.Random, rank: int, dim: int) -> Any:
    args = [1, None, None, None, False, None]
    return "aten.full_like.default", args, lambda _, x: torch.full_like(x, 1)


STEPS: list[Step] = [
    _unary,
    _binary,
    _binary,
    _binary,
    _where,
    _convert,
    _cat,
    *map(
        _with_dim,
        (
            _permute,
            _slice,
            _slice_from_position,
            _select,
            _unsqueeze,
            _flatten,
            _clone,
            _repeat,
            _expand,
            _flip,
            _pad,
            _index_select,
            _full_like,
        ),
    ),
]


@pytest.mark.parametrize("seed", seeds(300))
def test_random_program(seed: int) -> None:
    rng = rng_for("program", seed)
    program = Program(rng, I64 if seed % 2 else I32, edges=seed % 3 == 2)
    for _ in range(rng.randint(2, 14)):
        rng.choice(STEPS)(program, rng)
    last = len(program.values) - 1
    outputs = [*rng.sample(range(last), rng.randint(0, min(3, last))), last]
    program.graph.output(*(program.values[o] for o in outputs))
    with program.graph.load() as model:
        for run in rng.sample(program.runs * 2, 2 * len(program.runs)):
            position = torch.tensor([run.position], dtype=program.integer)
            got = model.run(*run.values[: program.inputs], position)
            where = f"seed {seed}, size {run.size}, position {run.position}"
            check_outputs(got, [run.values[o] for o in outputs], TIGHT, where)
