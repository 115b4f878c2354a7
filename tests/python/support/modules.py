"""Random torch modules with the odd corners of real ones.

Outputs that are inputs, copies of others or the same, inputs that nothing reads, sizes of zero,
buffers that are written and shared by two methods, constants that are views, values that are no
ordinary numbers. A step is tried in eager torch at every size of the program's calls before it is
taken; what is given back is the module to export, and the calls to make.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .cases import BOOL, F32, I32, I64, generator_for
from .edges import INFINITY, LARGEST, NAN

MOST_ELEMENTS = 2048
MOST_RANK = 5
LARGEST_POSITION = 2  # no dimension that a position indexes is smaller

EDGES = {
    F32: torch.tensor(
        [0.0, -0.0, 1.0, -1.0, INFINITY, -INFINITY, NAN, LARGEST, -LARGEST, 1e-40, -2.5, 1e30]
    ),
    I32: torch.tensor([0, 1, -1, 2**31 - 1, -(2**31), 65536, -65537, 12345], dtype=I32),
    I64: torch.tensor([0, 1, -1, 2**31, -(2**31) - 1, 2**40 + 1, 2**63 - 1, -(2**63), 2**52]),
    BOOL: torch.tensor([False, True]),
}

# A value of a module's forward from its state, the values before it and its positions.
Step = Callable[[nn.Module, Sequence[Tensor], Sequence[Any]], Tensor]


class Body(nn.Module):
    """A method: steps over the inputs, of which the last `positions` are whole numbers."""

    def __init__(self, state: nn.Module, positions: int) -> None:
        super().__init__()
        self.state = state
        self.positions = positions
        self.steps: list[Step] = []
        self.outputs: list[int] = []

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = list(inputs)
        positions = []
        for x in inputs[len(inputs) - self.positions :]:
            at = x.item()
            torch._check(at >= 0)
            torch._check(at <= LARGEST_POSITION)
            positions.append(at)
        for step in self.steps:
            values.append(step(self.state, values, positions))
        return tuple(values[i] for i in self.outputs)


@dataclass(frozen=True)
class Call:
    method: str
    inputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Generated:
    """A program, the calls to make, and what else than eager's results is in order."""

    methods: dict[str, Body]
    calls: list[Call]
    dynamic_shapes: Any
    options: dict[str, Any]
    tolerance: float
    # Sentences that may refuse it: what they say of the cause and of the remedy.
    refusals: list[tuple[str, str]]

    @property
    def examples(self) -> dict[str, tuple[Body, tuple[Tensor, ...]]]:
        return {name: (body, self.calls[0].inputs) for name, body in self.methods.items()}

    def eager(self, flush: bool) -> list[list[Tensor]]:
        """The outputs of every call; `flush` takes subnormal numbers for zero throughout."""
        with flushing(flush), torch.no_grad():
            methods = copy.deepcopy(self.methods)  # together, so that they share one state still
            return [[o.clone() for o in methods[c.method](*c.inputs)] for c in self.calls]


@contextmanager
def flushing(on: bool) -> Iterator[None]:
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


MERGED = ("cannot be told", "outputs that are copies of others")
UNREAD = ("an input that nothing reads", "export the model without it")
SPLIT = ("which is read here as it was before the call", "so that one delegate does both")
UNNAMED = ("which of several buffers", "executorch_webgpu.lowering")
LOST = ("mutable buffer", "alias_buffer_mutations")
VIEW = ("which part is meant is lost", "clone()")
FIXED = ("ExecuTorch cannot resize", "smallest size for which they hold")
SHARED = ("shares states with", "shared_states")


@dataclass
class Input:
    """Sizes of an input; the live one is None."""

    dtype: torch.dtype
    sizes: list[int | None]


@dataclass
class Trial:
    """A method in eager torch at one size of the program's calls."""

    state: nn.Module
    values: list[Tensor]
    positions: list[int]


class Draft:
    """A program that grows step by step."""

    def __init__(self, *key: object) -> None:
        self.key = key
        self.rng = random.Random(repr(key))
        self.edges = self.rng.random() < 0.4  # elements that are no ordinary numbers
        self.most = self.rng.randint(3, 7)
        self.live = self.rng.random() < 0.5
        self.state = nn.Module()
        self.buffers: list[str] = []  # that are written
        self.constants: list[str] = []
        self.views = self.rng.random() < 0.08
        self.aliased = self.rng.random() < 0.8
        self.inputs = [self._input() for _ in range(self.rng.randint(1, 3))]
        self.positions = self.rng.choice((0, 0, 0, 1, 2))
        for i in range(self.rng.choice((0, 0, 1, 2))):
            self._buffer(f"buffer{i}")
        for i in range(self.rng.choice((0, 1, 2))):
            self._constant(f"constant{i}")
        sizes = [self.rng.randint(2, self.most), self.most, 1, 0, self.rng.randint(1, self.most)]
        self.runs = [(n, self._samples(n, run)) for run, n in enumerate(sizes)]
        # Of the method that grows now: its trials, and which values eager gives bit for bit.
        self.body: Body
        self.trials: list[Trial]
        self.exact: list[bool]
        self.stored: set[int]  # values that are the state itself: the exporter refuses such outputs
        self.lost: set[int]  # a buffer's contents before a write: the exporter gives the new ones

    def _input(self) -> Input:
        sizes: list[int | None] = [
            0 if self.rng.random() < 0.06 else self.rng.randint(1, 5)
            for _ in range(self.rng.choice((1, 2, 2, 3, 4)))
        ]
        if self.live and self.rng.random() < 0.8:
            sizes[self.rng.randrange(len(sizes))] = None
        return Input(self.rng.choice((F32, F32, F32, I32, I64, BOOL)), sizes)

    def _samples(self, size: int, run: int) -> tuple[Tensor, ...]:
        tensors = [
            self.elements([size if s is None else s for s in i.sizes], i.dtype, (run, n))
            for n, i in enumerate(self.inputs)
        ]
        for _ in range(self.positions):
            tensors.append(torch.tensor([self.rng.randint(0, LARGEST_POSITION)]))
        return tuple(tensors)

    def elements(self, shape: Sequence[int], dtype: torch.dtype, key: object) -> Tensor:
        generator = generator_for(*self.key, key)
        if self.edges:
            chosen = torch.randint(0, len(EDGES[dtype]), shape, generator=generator)
            elements = EDGES[dtype][chosen]
        else:
            whole = torch.randint(-5, 6, shape, generator=generator)
            elements = whole > 0 if dtype == BOOL else whole * 0.5 if dtype == F32 else whole
        # ExecuTorch's binding does not survive the strides that operators give what is empty.
        return torch.empty(*shape, dtype=dtype).copy_(elements)

    def _stored(self, shape: Sequence[int], dtype: torch.dtype, key: object) -> Tensor:
        """Elements that the exporter can store: it cuts whole numbers to 32 bits."""
        elements = self.elements(shape, dtype, key)
        return elements.to(I32).to(I64) if dtype == I64 else elements

    def _static_shape(self) -> list[int]:
        like = self.rng.choice(self.inputs).sizes
        return [self.rng.randint(1, 4) if s is None else s for s in like]

    def _buffer(self, name: str) -> None:
        shape, dtype = self._static_shape(), self.rng.choice((F32, F32, I32, I64))
        zeros = not self.aliased or self.rng.random() < 0.5
        start = torch.zeros(shape, dtype=dtype) if zeros else self._stored(shape, dtype, name)
        self.state.register_buffer(name, start)
        self.buffers.append(name)

    def _constant(self, name: str) -> None:
        shape, dtype = self._static_shape(), self.rng.choice((F32, F32, I32, I64, BOOL))
        if self.views:
            many = self._stored([3, *shape], dtype, name)
            self.state.register_buffer(name, many[self.rng.randrange(3)])
        else:
            self.state.register_buffer(name, self._stored(shape, dtype, name))
        self.constants.append(name)

    def method(self, steps: int) -> Body:
        """A method of at most so many steps, over the program's inputs and state."""
        self.body = Body(self.state, self.positions)
        self.trials = [
            Trial(copy.deepcopy(self.state), list(x), [int(p) for p in x[len(self.inputs) :]])
            for _, x in self.runs
        ]
        self.stored = set()
        self.lost = set()
        self.exact = [True] * (len(self.inputs) + self.positions)
        for name in self.constants:
            if self.rng.random() < 0.7:
                self.take(lambda state, v, at, n=name: getattr(state, n), exact=True, stored=True)
        for _ in range(steps):
            with suppress(Nothing):
                self.rng.choice(STEPS)(self)
        self._choose_outputs()
        return self.body

    def take(self, step: Step, *, exact: bool, stored: bool = False) -> None:
        """Append the step, unless torch refuses it at some size or its result is not wanted."""
        results = []
        for trial in self.trials:
            try:
                state = copy.deepcopy(trial.state)
                results.append(step(state, [v.clone() for v in trial.values], trial.positions))
            except (RuntimeError, IndexError):
                return
        first = results[0]
        if first.dtype not in EDGES or any(r.dim() != first.dim() for r in results):
            return
        if first.dim() > MOST_RANK or any(r.numel() > MOST_ELEMENTS for r in results):
            return
        if not self.edges and any((r.double().abs() > 1e5).any() for r in results):
            return
        for trial in self.trials:
            trial.values.append(step(trial.state, trial.values, trial.positions))
        self.body.steps.append(step)
        if stored:
            self.stored.add(len(self.exact))
        self.exact.append(exact)

    def pick(self, accept: Callable[[Tensor], bool] = lambda _: True, exact: bool = False) -> int:
        """A value's number."""
        found = [
            i
            for i, t in enumerate(self.trials[0].values)
            if accept(t) and (self.exact[i] or not exact) and i not in self.lost
        ]
        if not found:
            raise Nothing
        # Rather a late one: long chains, not wide ones.
        return self.rng.choice(found if self.rng.random() < 0.5 else found[-3:])

    def sample(self, index: int) -> Tensor:
        return self.trials[0].values[index]

    def _choose_outputs(self) -> None:
        first = len(self.inputs) + self.positions
        unfit = self.stored | self.lost
        computed = [i for i in range(first, len(self.exact)) if i not in unfit]
        if not computed:
            self.take(lambda state, v, at: v[0].clone(), exact=True)
            computed = [len(self.exact) - 1]
        outputs = [computed[-1]]
        for _ in range(self.rng.choice((0, 0, 1, 1, 2, 3))):
            kind = self.rng.random()
            if kind < 0.5:
                outputs.append(self.rng.choice(computed))
            elif kind < 0.6:
                outputs.append(self.rng.randrange(len(self.inputs)))
            elif kind < 0.7:
                outputs.append(self.rng.choice(outputs))
            else:
                before = len(self.exact)
                _copy_of(self, self.rng.choice(outputs))
                outputs.append(before if len(self.exact) > before else outputs[0])
        if self.rng.random() < 0.5:
            self.rng.shuffle(outputs)
        self.body.outputs = outputs

    def finish(self, most_steps: int) -> Generated:
        shared = bool(self.buffers) and self.aliased and self.rng.random() < 0.5
        names = ("forward", "other") if shared else ("forward",)
        methods = {name: self.method(self.rng.randint(1, most_steps)) for name in names}
        refusals = [MERGED]
        if any(None in i.sizes for i in self.inputs):
            refusals.append(FIXED)
        if self.positions:
            refusals.append(UNREAD)
        if self.views:
            refusals.append(VIEW)
        if self.buffers and self.aliased:
            refusals += [SPLIT, UNNAMED]
        if shared:
            refusals.append(SHARED)
        if not self.aliased:  # what is computed from constants alone looks the same
            refusals.append(LOST)
        calls = []
        for n in [0, *(self.rng.randrange(len(self.runs)) for _ in range(4))]:
            calls.append(Call(self.rng.choice(names), self.runs[n][1]))
        return Generated(
            methods, calls, self._dynamic_shapes(), self._options(), self._tolerance(), refusals
        )

    def _tolerance(self) -> float:
        """The error that is accepted: of f32 at the size of what is computed."""
        if self.edges:
            return 0.0
        return 1e-6 * max(
            [1.0, *(v.double().abs().max().item() for v in self.trials[0].values if v.numel())]
        )

    def _dynamic_shapes(self) -> Any:
        if not any(None in i.sizes for i in self.inputs):
            return None
        size = torch.export.Dim("size", min=0, max=self.most)
        shapes = [
            {d: size for d, s in enumerate(i.sizes) if s is None} or None for i in self.inputs
        ]
        return {"inputs": (*shapes, *[None] * self.positions)}

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.aliased:
            options["alias_buffer_mutations"] = True
        if self.rng.random() < 0.5 and any(None in i.sizes for i in self.inputs):
            options["require_dynamic_shapes"] = True
        return options


class Nothing(Exception):
    """No value fits a step."""


def is_float(t: Tensor) -> bool:
    return t.dtype == F32


def is_number(t: Tensor) -> bool:
    return t.dtype != BOOL


def has_dims(t: Tensor) -> bool:
    return t.dim() > 0


def is_same(a: Tensor, b: Tensor) -> bool:
    return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(a.nan_to_num(), b.nan_to_num())


def _unary(d: Draft) -> None:
    """What keeps whole numbers whole."""
    f = d.rng.choice((torch.abs, torch.neg, torch.relu, lambda x: x.clamp(-2, 3)))
    i = d.pick(is_number)
    d.take(lambda state, v, at: f(v[i]), exact=d.exact[i])


def _curve(d: Draft) -> None:
    f = d.rng.choice((torch.sigmoid, torch.tanh, lambda x: x / 3, torch.nn.functional.silu))
    i = d.pick(is_float)
    d.take(lambda state, v, at: f(v[i]), exact=False)


def _binary(d: Draft) -> None:
    functions = [
        torch.add,
        torch.sub,
        torch.mul,
        torch.maximum,
        torch.minimum,
    ]
    if not d.edges:  # eager's 2y does not overflow by itself, for it is fused with the sum
        functions.append(lambda x, y: torch.add(x, y, alpha=2))
    f = d.rng.choice(functions)
    i = d.pick(is_number)
    like = d.sample(i)
    # Rather of the same sizes, so that torch does not refuse it.
    fits = d.rng.choice((lambda t: True, lambda t: t.shape == like.shape))
    j = d.pick(lambda t: is_number(t) and fits(t))
    d.take(lambda state, v, at: f(v[i], v[j]), exact=d.exact[i] and d.exact[j])


def _scalar(d: Draft) -> None:
    functions = [
        lambda x: x * 2,
        lambda x: x + 1,
        lambda x: 3 - x,
        lambda x: x - 0.5,
        lambda x: x * -1,
        lambda x: x + 0,
    ]
    f = d.rng.choice(functions)
    i = d.pick(is_number)
    d.take(lambda state, v, at: f(v[i]), exact=d.exact[i])


def _compare(d: Draft) -> None:
    f = d.rng.choice((torch.lt, torch.eq, torch.ge, torch.ne, torch.le, torch.gt))
    i = d.pick(is_number, exact=True)
    like = d.sample(i)
    j = d.pick(lambda t: t.dtype == like.dtype and t.dim() == like.dim(), exact=True)
    other = d.rng.choice((None, 0, 1))
    d.take(lambda state, v, at: f(v[i], v[j] if other is None else other), exact=True)


def _where(d: Draft) -> None:
    c = d.pick(lambda t: t.dtype == BOOL)
    i = d.pick(is_number)
    j = d.pick(lambda t: t.dtype == d.sample(i).dtype)
    d.take(lambda state, v, at: torch.where(v[c], v[i], v[j]), exact=d.exact[i] and d.exact[j])


def _logical(d: Draft) -> None:
    i, j = d.pick(lambda t: t.dtype == BOOL), d.pick(lambda t: t.dtype == BOOL)
    f = d.rng.choice((torch.logical_and, torch.logical_or, lambda x, y: torch.logical_not(x)))
    d.take(lambda state, v, at: f(v[i], v[j]), exact=True)


def _convert(d: Draft) -> None:
    to = d.rng.choice((F32, F32, I32, I64, BOOL))
    # The file does not say whether the whole number that a float becomes has 32 bits or 64.
    out_of_range = d.edges and to in (I32, I64)
    i = d.pick(lambda t: not (out_of_range and is_float(t)), exact=to != F32)
    d.take(lambda state, v, at: v[i].to(to), exact=True)


def _row_sums(d: Draft) -> None:
    if d.edges:
        return
    i = d.pick(lambda t: is_float(t) and has_dims(t))
    dim, keep = d.rng.randrange(d.sample(i).dim()), d.rng.random() < 0.5
    functions = (
        lambda x: x.sum(dim, keepdim=keep),
        lambda x: x.mean(dim, keepdim=keep),
        lambda x: x.softmax(dim),
        lambda x: x.amax(dim, keepdim=keep),
    )
    f = d.rng.choice(functions)
    d.take(lambda state, v, at: f(v[i]), exact=False)


def _linear(d: Draft) -> None:
    if d.edges:
        return
    i = d.pick(lambda t: is_float(t) and has_dims(t) and t.shape[-1] > 0)
    weight = d.elements([d.rng.randint(1, 5), d.sample(i).shape[-1]], F32, ("weight", len(d.exact)))
    d.take(lambda state, v, at: nn.functional.linear(v[i], weight), exact=False)


def _cat(d: Draft) -> None:
    i = d.pick(lambda t: has_dims(t) and is_number(t))  # ExecuTorch's kernel drops empty flags
    like = d.sample(i)
    fits = [d.pick(lambda t: t.dtype == like.dtype and t.dim() == like.dim()) for _ in range(2)]
    dim = d.rng.randrange(like.dim())
    exact = all(d.exact[n] for n in (i, *fits))
    d.take(lambda state, v, at: torch.cat([v[n] for n in (i, *fits)], dim), exact=exact)


def _move(d: Draft) -> None:
    """One operand, one of its dimensions, and elements that go elsewhere."""
    i = d.pick(has_dims)
    rank = d.sample(i).dim()
    dim, other = d.rng.randrange(rank), d.rng.randrange(rank)
    start, end, step = d.rng.randint(-2, 2), d.rng.choice((None, 2, -1)), d.rng.choice((1, 1, 2))
    times = [d.rng.randint(1, 2) for _ in range(rank)]
    pads = [d.rng.randint(0, 1) for _ in range(2 * rank)]
    part = (slice(None),) * dim + (slice(start, end, step),)
    index = torch.tensor([0, 0])
    functions = (
        lambda x: x.transpose(dim, other),
        lambda x: x.permute(*reversed(range(rank))),
        lambda x: x[part],
        lambda x: x[part],
        lambda x: x.select(dim, -1),
        lambda x: x.select(dim, 0),
        lambda x: x.unsqueeze(dim),
        lambda x: x.squeeze(dim),
        lambda x: x.reshape(-1),
        lambda x: x.flatten(0, 1),
        lambda x: x.repeat(times),
        lambda x: x.expand(2, *x.shape),
        lambda x: x.flip(dim),
        lambda x: nn.functional.pad(x, pads),
        lambda x: x.index_select(dim, index),
        lambda x: torch.full_like(x, 2),
        lambda x: torch.zeros_like(x),
        lambda x: x.split(1, dim)[0],
        lambda x: x.contiguous(),
    )
    f = d.rng.choice(functions)
    d.take(lambda state, v, at: f(v[i]), exact=d.exact[i])


def _from_position(d: Draft) -> None:
    if d.positions == 0:
        return
    i = d.pick(lambda t: has_dims(t) and is_number(t))
    n = d.rng.randrange(d.positions)
    dim = d.rng.randrange(d.sample(i).dim())
    functions = (
        lambda x, at: x.select(dim, at),
        lambda x, at: x.narrow(dim, at, 1),
        lambda x, at: x * at,
        lambda x, at: x + at,
    )
    f = d.rng.choice(functions)
    if min(t.values[i].shape[dim] for t in d.trials) <= LARGEST_POSITION:
        f = d.rng.choice(functions[2:])
    d.take(lambda state, v, at: f(v[i], at[n]), exact=d.exact[i])


def _copy(d: Draft) -> None:
    _copy_of(d, d.pick())


def _copy_of(d: Draft, i: int) -> None:
    """The same sizes and elements, in the ways in which programs say so."""
    copies = (
        lambda x: x.clone(),
        lambda x: x[:],
        lambda x: x.expand(x.shape),
        lambda x: x.view(x.shape),
        lambda x: x.to(x.dtype),
        lambda x: x.transpose(0, -1).transpose(0, -1),
        lambda x: x.unsqueeze(0).squeeze(0),
    )
    f = d.rng.choice(copies)
    d.take(lambda state, v, at: f(v[i]), exact=d.exact[i])


def _write(d: Draft) -> None:
    """A buffer's next contents, which are the step's value."""
    if not d.buffers:
        return
    name = d.rng.choice(d.buffers)
    like = getattr(d.state, name)
    i = d.pick(lambda t: t.shape == like.shape and t.dtype == like.dtype, exact=True)
    if any(d.trials[0].values[i].shape != t.values[i].shape for t in d.trials):
        return
    functions = (
        lambda buffer, x: buffer.add_(x),
        lambda buffer, x: buffer.mul_(x),
        lambda buffer, x: buffer.copy_(x),
        lambda buffer, x: buffer.add_(1),
    )
    f = d.rng.choice(functions)
    before = getattr(d.trials[0].state, name)
    same = {n for n, t in enumerate(d.trials[0].values) if is_same(t, before)}
    written = len(d.exact)
    d.take(lambda state, v, at: f(getattr(state, name), v[i]), exact=True, stored=True)
    if len(d.exact) > written:
        d.lost |= same


def _read(d: Draft) -> None:
    if not d.buffers:
        return
    name = d.rng.choice(d.buffers)
    f = d.rng.choice((lambda x: x + 1, lambda x: x * 2, lambda x: x.clone(), lambda x: x))
    d.take(lambda state, v, at: f(getattr(state, name)), exact=True, stored=True)


STEPS: tuple[Callable[[Draft], None], ...] = (
    *(_unary, _curve, _binary, _binary, _binary, _scalar, _scalar, _compare, _where, _logical),
    *(_convert, _row_sums, _linear, _cat, _move, _move, _move, _move, _from_position),
    *(_copy, _copy, _write, _write, _read),
)


def generate(*key: object, most_steps: int = 9) -> Generated:
    """The program of a key, and of nothing else."""
    return Draft(*key).finish(most_steps)
