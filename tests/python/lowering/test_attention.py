"""Attention without a cache: one delegate, with eager's values."""

from __future__ import annotations

import math

import pytest
import torch
from support.lowered import Stated, compare, graph_of, lowered
from torch.nn import functional as F

attend = F.scaled_dot_product_attention
GENERATOR = torch.Generator().manual_seed(5)


def numbers(*sizes: int) -> torch.Tensor:
    return torch.randn(sizes, generator=GENERATOR)


def some(*sizes: int) -> torch.Tensor:
    """True for about half, and for none in a row."""
    mask = torch.rand(sizes, generator=GENERATOR) < 0.5
    mask[..., -1, :] = False
    return mask


def written_out(heads: torch.Tensor, times: int) -> torch.Tensor:
    batch, n, rows, width = heads.shape
    apart = heads[:, :, None, :, :].expand(batch, n, times, rows, width)
    return apart.reshape(batch, n * times, rows, width)


def apart(heads: torch.Tensor, *sizes: int, batch: int = 1) -> torch.Tensor:
    """What is written out along another dimension, too, and then looks like heads."""
    n = heads.shape[1]
    more = heads[:, :, None].expand(batch, n, *sizes)
    return more.reshape(1, -1, *heads.shape[2:])


def changed_since(heads: torch.Tensor) -> torch.Tensor:
    made = written_out(heads, 2)
    heads.mul_(3)
    return made


BESIDE = numbers(1, 8, 7, 8), numbers(1, 2, 9, 8)
WIDE = numbers(1, 8, 7, 1), numbers(1, 2, 9, 1)
Q, KV = numbers(2, 4, 7, 8), numbers(2, 2, 9, 8)
CASES = {
    "plain": (lambda s, q: attend(q, q, q), (Q,)),
    "scale": (lambda s, q: attend(q, q, q, scale=0.2), (Q,)),
    "value width": (lambda s, q, v: attend(q, q, v), (Q, numbers(2, 4, 7, 5))),
    "three dimensions": (lambda s, q: attend(q, q, q), (numbers(3, 7, 8),)),
    "causal": (lambda s, q: attend(q, q, q, is_causal=True), (Q,)),
    "causal over more keys": (
        lambda s, q, k: attend(q, k, k, is_causal=True),
        (Q, numbers(2, 4, 9, 8)),
    ),
    "mask of bools": (lambda s, q, m: attend(q, q, q, m), (Q, some(7, 7))),
    "mask of numbers": (
        lambda s, q, m: attend(q, q, q, m),
        (Q, numbers(2, 1, 7, 7).masked_fill(some(2, 1, 7, 7), -math.inf)),
    ),
    "rows without keys": (
        lambda s, q, m: attend(q, q, q, m),
        (Q, torch.full((7, 7), -math.inf)),
    ),
    "padding": (lambda s, q, m: attend(q, q, q, m[:, None, None]), (Q, some(2, 7))),
    "known mask": (lambda s, q: attend(q, q, q, s.mask), (Q,)),
    "made mask": (lambda s, q: attend(q, q, q, torch.ones(7, 7).tril().bool()), (Q,)),
    "mask for two": (lambda s, q, m: attend(attend(q, q, q, m), q, q, m), (Q, some(7, 7))),
    "groups": (lambda s, q, k: attend(q, k, k, enable_gqa=True), (Q, KV)),
    "causal groups": (
        lambda s, q, k: attend(q, k, k, is_causal=True, enable_gqa=True),
        (Q, KV),
    ),
    "masked groups": (
        lambda s, q, k, m: attend(q, k, k, m, enable_gqa=True),
        (Q, KV, some(2, 1, 7, 9)),
    ),
    "repeated heads": (
        lambda s, q, k: attend(q, k.repeat_interleave(2, 1), k.repeat_interleave(2, -3)),
        (Q, KV),
    ),
    "groups with one mask": (
        lambda s, q, k, m: attend(q, k, k, m, enable_gqa=True),
        (Q[:1], KV[:1], some(1, 1, 7, 9)),
    ),
    "heads written out": (
        lambda s, q, k, m: attend(q, written_out(k, 2), written_out(k * 2, 2), m),
        (Q, KV, some(2, 1, 7, 9)),
    ),
    "heads written out causal": (
        lambda s, q, k: attend(q, written_out(k, 2), written_out(k, 2), is_causal=True),
        (Q, KV),
    ),
    "repeated rows": (
        lambda s, q, k: attend(q[:, :2], k, k.repeat_interleave(2, 2)[:, :, 9:]),
        (Q, KV),
    ),
    "batches beside heads": (lambda s, q, k: attend(q, *2 * [apart(k, 2, 9, 8, batch=2)]), BESIDE),
    "widths beside heads": (lambda s, q, k: attend(q, *2 * [apart(k, 2, 9, 2)]), WIDE),
    "heads changed since": (lambda s, q, k: attend(q, *2 * [changed_since(k * 2)]), (Q, KV)),
    "heads side by side": (
        lambda s, q: attend(*3 * [q.transpose(1, 2)]).transpose(1, 2).view(2, 4, 56),
        (Q,),
    ),
    "module": (lambda s, x: s.attention(x, x, x, need_weights=False)[0], (numbers(2, 7, 16),)),
}  # fmt: skip


def delegates(program) -> int:
    plan = program.exported_program().graph
    calls = [n for n in plan.nodes if n.op == "call_function" and "getitem" not in str(n.target)]
    assert all("executorch_call_delegate" in str(n.target) for n in calls), calls
    return len(calls)


@pytest.mark.parametrize("name", CASES)
def test_one_delegate(name):
    from executorch_webgpu.lowering import partition, plan_memory, quiet_upstream
    from support.stock import Program

    function, inputs = CASES[name]
    module = Stated(function, mask=some(7, 7))
    torch.manual_seed(3)
    module.attention = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    graph = graph_of(module, inputs)
    with quiet_upstream(), torch.no_grad():
        edge = partition(graph)
        assert delegates(edge) == 1
        program = Program(bytes(plan_memory(edge).buffer))
        compare(program(*inputs), module.eval()(*inputs), name)


@pytest.mark.parametrize(
    ("name", "kv_heads"), [("repeated heads", 1), ("heads written out", 1), ("plain", 4)]
)
def test_heads_written_out_are_shared(name, kv_heads):
    from executorch_webgpu.lowering.prepare import prepared

    function, inputs = CASES[name]
    whole = prepared({"": graph_of(Stated(function), inputs)}, {"": {}})[""]
    (call,) = (n for n in whole.graph.nodes if n.target is torch.ops.et_vk.sdpa.default)
    assert call.args[1].meta["val"].shape[1] == kv_heads


def test_a_mask_that_is_written_in_part():
    from executorch_webgpu.lowering.prepare import prepared

    def function(s, q, k):
        mask = torch.ones(7, 9, dtype=torch.bool)
        mask[:, :3] = False
        return attend(q, k, k, mask, enable_gqa=True)

    module = Stated(function)
    whole = prepared({"": graph_of(module, (Q, KV))}, {"": {}})[""]
    compare([whole.module()(Q, KV)], module(Q, KV), "mask")


def test_a_mask_that_a_custom_operator_writes():
    """What it writes is not what it is given first."""
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers llama::*
    from executorch_webgpu.lowering.prepare import prepared

    def function(s, q, row, place):
        start = place.item()
        torch._check(start >= 0)
        torch._check(start < 7)
        torch.ops.llama.update_cache(row, s.seen, start)
        return attend(q, q, q, s.seen.view(7, 7) > 0)

    module, row = Stated(function, seen=torch.ones(1, 7, 1, 7)), torch.tensor([[[[0.0] * 6 + [1]]]])
    given = Q, row, torch.tensor(2)
    whole = prepared({"": graph_of(module, given)}, {"": {}})[""]
    compare([whole.module()(*given)], module(*given), "mask")


def test_any_number_of_heads():
    heads = torch.export.Dim("heads", min=2, max=6)
    module = Stated(lambda s, q, k: attend(q, k, k))
    inputs = numbers(2, 4, 7, 8), numbers(2, 4, 9, 8)
    program = lowered(graph_of(module, inputs, (({1: heads}, {1: heads}),)))
    for n in (4, 2, 6):
        given = numbers(2, n, 7, 8), numbers(2, n, 9, 8)
        compare(program(*given), module(*given), f"{n} heads")


@pytest.mark.parametrize(
    "name",
    [
        "causal",
        "causal groups",
        "mask of bools",
        "groups with one mask",
        "heads written out causal",
    ],
)
def test_any_length(name):
    function, inputs = CASES[name]
    length = torch.export.Dim("length", min=2, max=64)
    keys = {7: length, 9: torch.export.Dim("keys", min=2, max=64)}
    shapes = tuple({d: keys[n] for d, n in enumerate(x.shape) if n in keys} for x in inputs)
    module = Stated(function)
    program = lowered(graph_of(module, inputs, (shapes,)))
    for n in (7, 2, 31, 64, 3):
        given = []
        for x in inputs:
            sizes = [n if size in keys else size for size in x.shape]
            given.append(some(3, *sizes)[0] if x.dtype == torch.bool else numbers(*sizes))
        compare(program(*given), module(*given), f"{name}, {n}")


def test_the_program_that_was_given_stays():
    graph = graph_of(Stated(CASES["made mask"][0]), (Q,))
    before = str(graph)
    lowered(graph)
    assert str(graph) == before
