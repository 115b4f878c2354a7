"""Mutable buffers over several steps, however they are written and read."""

from __future__ import annotations

import pytest
import torch
from support.lowered import Stated, follows_eager, graph_of, lowered

STEPS = [(torch.arange(24.0).reshape(4, 6) / 10 + step,) for step in range(3)]


def writes(forward):
    """A forward that returns what it makes of the state after `forward` wrote it."""

    def written(s, x):
        forward(s, x)
        return s.b.sum(1), s.b * 2

    return written


def rows(s, x):
    s.b[1:3].add_(x[1:3])


def a_column(s, x):
    s.b[:, 2] = x[:, 0]


def every_other(s, x):
    s.b[::2, 1:].copy_(x[::2, 1:])


def chosen_rows(s, x):
    s.b[torch.tensor([3, 0])] = x[:2]


def added_by_index(s, x):
    s.b.index_put_((torch.tensor([1, 1, 2]),), x[:3], accumulate=True)


def masked(s, x):
    s.b.masked_fill_(x > 1.2, -1.0)


def the_transposed(s, x):
    s.b.t()[1:3].mul_(2).add_(x.t()[1:3])


def a_view(s, x):
    s.b.view(24)[5:9].add_(x.view(24)[5:9])


def twice(s, x):
    s.b.add_(x)
    s.b[0].zero_()


WRITES = [rows, a_column, every_other, chosen_rows, added_by_index, masked, the_transposed]
WRITES += [a_view, twice]


@pytest.mark.parametrize("write", WRITES, ids=lambda w: w.__name__)
def test_writes_of_a_part(write):
    follows_eager(Stated(writes(write), b=torch.ones(4, 6)), *STEPS)


def before_and_after(s, x):
    old = s.b * 2
    s.b.add_(x)
    return old, s.b * 1


def old_itself(s, x):
    old = s.b.clone()
    s.b.mul_(x)
    return old, old.view(24), old.t()


def between_two_writes(s, x):
    s.b.add_(x)
    between = s.b * 2
    s.b.mul_(3)
    return between, s.b - between


def old_after_new(s, x):
    old = s.b.clone()
    s.b.copy_(x)
    return old + s.b, old


def overwritten_unread(s, x):
    s.b.copy_(x)
    return s.b * 2


def exchanged(s, x):
    old = s.b.clone()
    s.b.copy_(s.passing)
    s.passing.copy_(old + x)
    return s.b, s.passing


def of_an_input(s, x):
    s.b.copy_(x)
    s.passing.add_(s.b)
    return x, s.passing


def of_a_constant(s, x):
    y = s.b + x
    s.b.copy_(s.constant)
    return y


def as_a_weight(s, x):
    before = x @ s.b.t()
    s.b.add_(0.5)
    return before, torch.nn.functional.linear(x, s.b)


def around_the_delegate(s, x):
    s.b.copy_(torch.cumsum(s.b + x, 0))
    return torch.cumsum(s.b, 1) * s.passing, s.passing.add_(1)


READS = [before_and_after, old_itself, between_two_writes, old_after_new, overwritten_unread]
READS += [exchanged, of_an_input, of_a_constant, as_a_weight]
READS += [around_the_delegate]


@pytest.mark.parametrize("forward", READS, ids=lambda f: f.__name__)
def test_values_read_around_writes(forward):
    buffers = {name: torch.randn(4, 6) for name in ("b", "passing", "constant")}
    follows_eager(Stated(forward, **buffers), *STEPS)


TYPES = [torch.float32, torch.float16, torch.int32, torch.int64, torch.int8, torch.uint8]


@pytest.mark.parametrize("dtype", [*TYPES, torch.float64, torch.bool])
def test_types(dtype):
    def forward(s, x):
        s.b.copy_((s.b.float() + x).to(dtype))
        return s.b, s.b.float() + x

    whole_numbers = [(torch.arange(24.0).reshape(4, 6) + step,) for step in range(3)]
    follows_eager(Stated(forward, b=torch.ones(4, 6).to(dtype)), *whole_numbers)


@pytest.mark.parametrize("sizes", [(), (1,), (5,), (2, 3, 4), (1, 2, 3, 4), (2, 1, 2, 1, 2)])
def test_ranks(sizes):
    module = Stated(lambda s, x: (s.b.add_(x), s.b * 2), b=torch.full(sizes, 3.0))
    follows_eager(module, *[(torch.randn(sizes),) for _ in range(3)])


def test_states_of_nested_modules():
    inner = Stated(lambda s, x: s.n.add_(x), n=torch.ones(4, 6))
    outer = Stated(lambda s, x: (s.first(x) + s.second(x), s.b.mul_(2)), b=torch.ones(4))
    outer.first, outer.second = inner, Stated(lambda s, x: s.n.mul_(x), n=torch.ones(4, 6))
    follows_eager(outer, *STEPS)


def test_inputs_of_dynamic_sizes():
    def forward(s, x):
        s.b[: x.shape[0]].add_(x)
        return s.b.sum(1), x * 2

    steps = [(torch.randn(rows, 3),) for rows in (4, 9, 2, 9)]
    rows = torch.export.Dim("rows", max=9)
    follows_eager(
        Stated(forward, b=torch.ones(9, 3)), *steps, dynamic_shapes={"inputs": ({0: rows},)}
    )


def test_programs_keep_their_states_to_themselves():
    module = Stated(lambda s, x: s.b.add_(x) * 1, b=torch.zeros(4, 6))
    first, second = (lowered(graph_of(module, STEPS[0])) for _ in range(2))
    ones = torch.ones(4, 6)
    first(ones)
    assert first(ones)[0][0, 0] == 2
    assert second(ones)[0][0, 0] == 1
