"""Caches written by plain operators, whose attention is over all of a buffer."""

from __future__ import annotations

import math

import pytest
import torch
from executorch_webgpu.lowering import partition
from executorch_webgpu.lowering.prepare import prepared
from support.lowered import Stated, follows_eager, graph_of, lowered, methods_follow_eager
from torch.nn import functional as F

CONTEXT, HEADS, WIDTH = 12, 2, 8
VISIBLE = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril()
attend = F.scaled_dot_product_attention


def numbers(*sizes, seed=0):
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


def at(position):
    return torch.tensor([position])


def buffers(*sizes, **others):
    sizes = sizes or (1, HEADS, CONTEXT, WIDTH)
    given = {"k": numbers(*sizes, seed=7), "v": numbers(*sizes, seed=8), "mask": VISIBLE}
    return {**given, **others}


def inputs(rows=1, heads=HEADS, start=3, step=0):
    new = (numbers(1, rows, HEADS, WIDTH, seed=step + i) for i in (1, 2))
    return numbers(1, heads, rows, WIDTH, seed=step), *new, at(start)


def put(s, k, v, p):
    """One row, at a position that a tensor holds."""
    s.k[:, :, p] = k.transpose(1, 2)
    s.v[:, :, p] = v.transpose(1, 2)


def rows_from(p, rows):
    start = p[0].item()
    torch._check(start >= 0)
    torch._check(start + rows <= CONTEXT)
    return start


def copied(s, k, v, p, dim=2):
    """Any number of rows from a position on."""
    start = rows_from(p, k.shape[1])
    at = torch.arange(k.shape[1]) + start
    s.k.index_copy_(dim, at, k.transpose(1, 2))
    s.v.index_copy_(dim, at, v.transpose(1, 2))
    return start


def one(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.mask[p])


def many(s, q, k, v, p):
    start = copied(s, k, v, p)
    return attend(q, s.k, s.v, s.mask.narrow(0, start, k.shape[1]))


def values_first(s, q, k, v, p):
    """Each write selects the position for itself, and the second cache is written first."""
    s.v.index_copy_(2, torch.arange(1) + p[0], v.transpose(1, 2))
    s.k.index_copy_(2, torch.arange(1) + p[0], k.transpose(1, 2))
    return attend(q, s.k, s.v, s.mask[p])


def for_groups(s, q, k, v, p):
    put(s, k, v, p)
    keys, values = (x.repeat_interleave(2, 1) for x in (s.k, s.v))
    return attend(q, keys, values, s.mask[p], scale=0.3)


def of_groups(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.mask[None, None, p], enable_gqa=True).transpose(1, 2)


def of_floats(s, q, k, v, p):
    put(s, k, v, p)
    hidden = torch.zeros(CONTEXT, CONTEXT).masked_fill(~s.mask, -math.inf)
    return attend(q, s.k, s.v, hidden[p])


def rows_as_they_lie(s, q, k, v, p):
    """Of a buffer that has positions before heads."""
    s.k[:, p] = k
    s.v[:, p] = v
    return attend(q, s.k.transpose(1, 2), s.v.transpose(1, 2), s.mask[p])


LYING = (1, CONTEXT, HEADS, WIDTH)
# Each with its buffers' sizes and the heads of its queries.
CACHES = {
    "one": (one, (), HEADS),
    "many": (many, (), HEADS),
    "values first": (values_first, (), HEADS),
    "for groups": (for_groups, (), 2 * HEADS),
    "of groups": (of_groups, (), 2 * HEADS),
    "of floats": (of_floats, (), HEADS),
    "rows as they lie": (rows_as_they_lie, LYING, HEADS),
}


def operators(module, given, dynamic_shapes=None, consecutive=()):
    """The names of llama's operators in a module's graph."""
    program = graph_of(module, given, dynamic_shapes)
    graph = prepared({"": program}, {"": {}}, consecutive)[""].graph
    targets = [getattr(node.args[0] if node.args else None, "name", str) for node in graph.nodes]
    targets += [getattr(node.target, "name", str) for node in graph.nodes]
    names = [name() for name in targets if callable(name)]
    return sorted({name for name in names if name.startswith("llama::")})


UPDATED, ATTENDED = "llama::update_cache", "llama::custom_sdpa"


@pytest.mark.parametrize("name", CACHES)
def test_caches(name):
    forward, sizes, heads = CACHES[name]
    module = Stated(forward, **buffers(*sizes))
    assert operators(module, inputs(heads=heads)) == [ATTENDED, UPDATED]
    steps = [inputs(heads=heads, start=start, step=10 * start) for start in (3, 0, 4, 5, 11, 5)]
    edge = partition(graph_of(module, steps[0]))
    calls = [n for n in edge.exported_program().graph.nodes if n.op == "call_function"]
    assert all("getitem" in str(n.target) or "delegate" in str(n.target) for n in calls), calls
    follows_eager(module, *steps)


def test_any_length():
    rows = torch.export.Dim("rows", min=1, max=CONTEXT - 1)
    shapes = ({2: rows}, {1: rows}, {1: rows}, None)
    runs = ((0, 5), (5, 1), (6, 3), (2, 4), (9, 3), (0, 11))
    steps = [inputs(rows=n, start=start, step=10 * n) for start, n in runs]
    module = Stated(many, **buffers())
    assert operators(module, steps[0], (shapes,)) == [ATTENDED, UPDATED]
    follows_eager(module, *steps, dynamic_shapes=(shapes,))


def test_a_kernel_of_executorchs_before():
    """Of a delegate that keeps the caches, too, only outputs are given out."""

    def forward(s, q, k, v, p):
        return one(s, torch.cumsum(q, 3), k, v, p)

    follows_eager(Stated(forward, **buffers()), *[inputs(start=p, step=p) for p in (1, 2, 3)])


# --- Positions of all rows are given, and said to be consecutive: transformers' static caches ---


def copied_to(s, k, v, positions):
    s.k.index_copy_(2, positions, k.transpose(1, 2))
    s.v.index_copy_(2, positions, v.transpose(1, 2))


def up_to(positions):
    """The mask of transformers' decoders."""
    rows = positions[None, None, :, None]
    seen = torch.arange(CONTEXT)[None, None, None] + 0 <= rows
    return seen.expand(1, -1, positions.shape[0], CONTEXT)


def compared(s, q, k, v, positions):
    copied_to(s, k, v, positions)
    return attend(q, s.k, s.v, up_to(positions))


def compared_for_groups(s, q, k, v, positions):
    s.k[:, :, positions] = k.transpose(1, 2)
    s.v[:, :, positions] = v.transpose(1, 2)
    sizes = 1, HEADS, 2, CONTEXT, WIDTH
    keys, values = (x[:, :, None].expand(sizes).reshape(1, -1, *sizes[3:]) for x in (s.k, s.v))
    mask = positions[:, None] >= torch.arange(CONTEXT)
    return attend(q, keys, values, mask, scale=0.3)


def attended_from_the_first(s, q, k, v, positions):
    """By ExecuTorch's operator, over the plain cache."""
    copied_to(s, k, v, positions)
    start = positions[None][0][0].item()
    torch._check(start >= 0)
    torch._check(start < CONTEXT)
    rows = (x.transpose(1, 2) for x in (q, s.k, s.v))
    return torch.ops.llama.custom_sdpa(*rows, start, None, 0.0, True)


def windowed(s, q, k, v, positions):
    copied_to(s, k, v, positions)
    near = torch.arange(CONTEXT) > positions[:, None] - 3
    return attend(q, s.k, s.v, up_to(positions) & near)


def before(s, q, k, v, positions):
    copied_to(s, k, v, positions)
    return attend(q, s.k, s.v, torch.arange(CONTEXT) < positions[:, None] + 0)


def behind(s, q, k, v, positions):
    copied_to(s, k, v, positions)
    return attend(q, s.k, s.v, torch.arange(CONTEXT) >= positions[:, None])


def up_to_others(s, q, k, v, positions):
    copied_to(s, k, v, positions)
    return attend(q, s.k, s.v, up_to(positions + 1))


def up_to_twice(s, q, k, v, positions):
    copied_to(s, k, v, positions)
    return attend(q, s.k, s.v, torch.arange(0, 2 * CONTEXT, 2) <= positions[:, None])


def placed(rows=1, heads=HEADS, start=3):
    return *inputs(rows, heads, step=10 * start)[:3], torch.arange(start, start + rows)


@pytest.mark.parametrize(
    ("forward", "heads", "whole"),
    [
        (compared, HEADS, True),
        (compared_for_groups, 2 * HEADS, True),
        (attended_from_the_first, 2 * HEADS, True),
        (windowed, HEADS, False),
        (before, HEADS, False),
        (behind, HEADS, False),
        (up_to_others, HEADS, False),
        (up_to_twice, HEADS, False),
    ],
)
@pytest.mark.parametrize("length", ["any", "one"])
def test_consecutive_positions(forward, heads, whole, length):
    rows = torch.export.Dim("rows", min=1, max=CONTEXT - 1)
    shapes = (({2: rows}, {1: rows}, {1: rows}, {0: rows}),) if length == "any" else None
    runs = ((0, 5), (5, 1), (6, 3), (2, 4), (9, 3), (0, 11))
    if length == "one":
        runs = [(start, 1) for start in (3, 0, 4, 11)]
    steps = [placed(count, heads, start) for start, count in runs]
    module, said = Stated(forward, **buffers()), ["inputs_3"]
    wanted = [ATTENDED, UPDATED] if whole else [UPDATED]
    assert operators(module, steps[0], shapes, said) == wanted
    edge = partition(graph_of(module, steps[0], shapes), consecutive=said)
    calls = [n for n in edge.exported_program().graph.nodes if n.op == "call_function"]
    assert all("getitem" in str(n.target) or "delegate" in str(n.target) for n in calls), calls
    follows_eager(module, *steps, dynamic_shapes=shapes, consecutive=said)


def test_positions_that_nobody_said_anything_of():
    module = Stated(compared, **buffers())
    given = [
        (*inputs(3, step=n)[:3], torch.tensor(at)) for n, at in enumerate(([1, 5, 2], [7, 0, 6]))
    ]
    assert operators(module, given[0]) == []
    follows_eager(module, *given)


# --- What only looks like it ---


def banded(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.band[p])


def shifted(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.next[p])


def weighed(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.weights[p])


def rows_of_others(s, q, k, v, p, other):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.mask[other])


def read_again(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.mask[p]), s.k.sum(2)


def keys_for_values(s, q, k, v, p):
    put(s, k, v, p)
    return attend(q, s.k, s.k, s.mask[p]), s.v * 1


def written_apart(s, q, k, v, p, other):
    s.k[:, :, p] = k.transpose(1, 2)
    s.v[:, :, other] = v.transpose(1, 2)
    return attend(q, s.k, s.v, s.mask[p])


def mask_written(s, q, k, v, p):
    s.mask.logical_or_(torch.tensor(False))
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.mask[p])


ALMOST = {
    "banded": banded,
    "shifted": shifted,
    "weighed": weighed,
    "rows of others": rows_of_others,
    "read again": read_again,
    "keys for values": keys_for_values,
    "written apart": written_apart,
    "mask written": mask_written,
}


MASKS = {
    "band": VISIBLE & ~VISIBLE.tril(-4),
    "next": VISIBLE.roll(-1, 0) | (torch.arange(CONTEXT) == 0),
    "weights": numbers(CONTEXT, CONTEXT).masked_fill(~VISIBLE, -math.inf),
}


@pytest.mark.parametrize("name", ALMOST)
def test_attention_that_is_no_causal_one(name):
    """Its caches are written all the same."""
    forward = ALMOST[name]
    more = (at(2),) if "other" in forward.__code__.co_varnames else ()
    steps = [(*inputs(start=start, step=10 * start), *more) for start in (3, 4, 9, 2)]
    module = Stated(forward, **buffers(**MASKS))
    assert operators(module, steps[0]) == [UPDATED]
    follows_eager(module, *steps)


def accumulated(s, q, k, v, p):
    torch.ops.aten.index_put_(s.k, [None, None, p], k.transpose(1, 2), True)
    torch.ops.aten.index_put_(s.v, [None, None, p], v.transpose(1, 2), True)
    return attend(q, s.k, s.v, s.mask[p])


def old_contents(s, q, k, v, p):
    old = s.k.sum(2), s.v.sum(2)
    put(s, k, v, p)
    return attend(q, s.k, s.v, s.mask[p]), *old


def twice(s, q, k, v, p):
    put(s, k * 2, v * 2, p)
    put(s, k, v, p * 0)
    return attend(q, s.k, s.v, s.mask[p])


def in_width(s, q, k, v, p):
    s.k[..., p] = q.mT[..., :1]
    s.v[..., p] = q.mT[..., :1]
    return attend(q, s.k, s.v)


SQUARE = (1, HEADS, WIDTH, WIDTH)
OTHERS = {
    "accumulated": (accumulated, {}),
    "old contents": (old_contents, {}),
    "twice": (twice, {}),
    "in width": (in_width, buffers(*SQUARE)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_writes_that_are_none_of_a_run(name):
    forward, given = OTHERS[name]
    module = Stated(forward, **(given or buffers()))
    steps = [inputs(start=start, step=10 * start) for start in (3, 4, 2)]
    assert operators(module, steps[0]) == []
    follows_eager(module, *steps)


@pytest.mark.parametrize(
    "run", [(0, 4, 2), (1, 3), (1, -1, -1), (0, 1, 0.5)], ids=["every other", "behind", "back", "0"]
)
def test_rows_that_are_none_of_a_run(run):
    def forward(s, q, k, v, p):
        at = p + torch.arange(*run).long()
        s.k.index_copy_(2, at, k.transpose(1, 2))
        s.v.index_copy_(2, at, v.transpose(1, 2))
        return attend(q, s.k, s.v, s.mask[at])

    module = Stated(forward, **buffers())
    steps = [inputs(rows=2, start=start, step=10 * start) for start in (3, 4)]
    assert operators(module, steps[0]) == []
    follows_eager(module, *steps)


def test_two_images_of_a_cache():
    def forward(s, q, k, v, p):
        s.k[:, :, p] = k
        s.v[:, :, p] = v
        return attend(q, s.k, s.v, s.mask[p])

    sizes = 2, HEADS, CONTEXT, WIDTH
    new = [numbers(2, HEADS, 1, WIDTH, seed=i) for i in range(3)]
    module, steps = Stated(forward, **buffers(*sizes)), [(*new, at(p)) for p in (1, 2)]
    assert operators(module, steps[0]) == []
    follows_eager(module, *steps)


def halves(s, q, k, v, p):
    put(s, k.half(), v.half(), p)
    return attend(q, s.k.float(), s.v.float(), s.mask[p])


def test_other_types():
    given = {name: x.half() if x.is_floating_point() else x for name, x in buffers().items()}
    module = Stated(halves, **given)
    assert operators(module, inputs()) == []
    follows_eager(module, *[inputs(start=p, step=p) for p in (1, 2)])


# --- Several methods ---


def state():
    return Stated(lambda s: None, **buffers())


CALLS = ("many", "one", "one", "many", "one")


def step(number):
    return inputs(start=2 * number, step=10 * number)


def test_methods_over_one_cache():
    methods_follow_eager(state, {"many": many, "one": one}, CALLS, step)


def summed(s, q, k, v, p):
    return (s.k.sum(2) + s.v.sum(2) + q.sum(),)


def test_a_method_that_reads_a_cache_otherwise():
    methods_follow_eager(state, {"one": one, "sum": summed}, ("one", "sum", "one", "sum"), step)


def opened(s, q, k, v, p):
    """Lets everything be seen from then on."""
    s.mask.logical_or_(q.sum() < math.inf)
    return (s.mask * 1.0,)


def test_a_method_that_writes_the_mask():
    methods_follow_eager(state, {"one": one, "open": opened}, ("one", "open", "one"), step)


def test_a_position_before_the_first_is_refused():
    program = lowered(graph_of(Stated(one, **buffers()), inputs()))
    with pytest.raises(RuntimeError):
        program(*inputs(start=-1))
