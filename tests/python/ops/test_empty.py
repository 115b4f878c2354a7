"""Live sizes of zero between others: the sizes are right, and the next call works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import pytest
import torch
import torch.nn.functional as F
from support.capi import ModelError
from support.cases import F32, SUMS, Arg, check_op, check_outputs
from support.delegate import GraphBuilder

# Operator: its arguments (x [S, 4] first), its reference, and how its call's arguments are made.
Case = tuple[list[Arg], Callable[..., Any], Callable[..., Sequence[Any]] | None]
X = Arg((6, 4))

CASES: dict[str, Case] = {
    "aten.neg.default": ([X], torch.neg, None),
    "aten.mul.Tensor": ([X, Arg((4,), constant=True)], torch.mul, None),
    "aten._softmax.default": ([X], lambda x: x.softmax(-1), lambda g, x: (x, -1, False)),
    "aten.sum.dim_IntList": ([X], lambda x: x.sum(1), lambda g, x: (x, [1], False, None)),
    "aten.mean.dim": ([X], lambda x: x.mean(-1), lambda g, x: (x, [-1], False, None)),
    "aten.view_copy.default": ([X], lambda x: x.reshape(-1), lambda g, x: (x, [-1])),
    "aten.permute_copy.default": ([X], lambda x: x.t(), lambda g, x: (x, [1, 0])),
    "aten.cat.default": ([X], lambda x: torch.cat([x, x]), lambda g, x: ([x, x], 0)),
    "aten.expand_copy.default": (
        [X],
        lambda x: x.expand(3, -1, -1).clone(),
        lambda g, x: (x, [3, -1, -1], False),
    ),
    "aten.constant_pad_nd.default": (
        [X],
        lambda x: F.pad(x, (1, 0), value=2.0),
        lambda g, x: (x, [1, 0], 2.0),
    ),
    "aten.linear.default": (
        [X, Arg((5, 4), constant=True)],
        F.linear,
        lambda g, x, w: (x, w, None),
    ),
    "et_vk.rms_norm.default": (
        [X, Arg((4,), constant=True)],
        lambda x, w: torch.ops.et_vk.rms_norm(x, w, 1e-5),
        lambda g, x, w: (x, w, 1e-5),
    ),
    "aten.native_layer_norm.default": (
        [X],
        lambda x: tuple(torch.native_layer_norm(x, (4,), None, None, 1e-5)),
        lambda g, x: (x, [4], None, None, 1e-5),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_no_rows(name: str) -> None:
    arguments, reference, args = CASES[name]
    rest = [a.bound for a in arguments[1:]]
    check_op(
        name,
        arguments,
        reference,
        args=args,
        live=[[(n, 4), *rest] for n in (0, 6, 0, 3, 0)],
        tolerance=SUMS,
    )


REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "aten.sum.dim_IntList": torch.sum,
    "aten.mean.dim": torch.mean,
}


@pytest.mark.parametrize("dims", [[0], [0, 1], []])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_of_nothing(name: str, dims: list[int]) -> None:
    check_op(
        name,
        [X],
        lambda x: REDUCTIONS[name](x, dims or None, keepdim=True),
        args=lambda g, x: (x, dims, True, None),
        live=[[(n, 4)] for n in (0, 6, 0, 3)],
        tolerance=SUMS,
    )


def test_a_sum_of_no_integers() -> None:
    check_op(
        "aten.sum.dim_IntList",
        [Arg((6, 4), torch.int32)],
        lambda x: x.sum(0),
        args=lambda g, x: (x, [0], False, None),
        live=[[(n, 4)] for n in (0, 6, 0)],
    )


@pytest.mark.parametrize("name", ["amax", "amin", "argmax", "argmin"])
def test_an_extreme_of_nothing(name: str) -> None:
    """An error, as it is in torch; over the other dimension there are simply no outputs."""
    g = GraphBuilder()
    x = g.input(F32, (6, 4))
    dtype = F32 if name.startswith("am") else torch.int32
    for dim, size in ((0, 4), (1, 6)):
        dims = [dim] if dtype is F32 else dim
        g.output(g.call(f"aten.{name}.default", x, dims, False, out=(dtype, (size,))))
    with g.load() as model:
        with pytest.raises(ModelError, match=r"no extreme over dimension 0 of sizes \[0, 4\]"):
            model.run(torch.zeros(0, 4))
        live = torch.randn(3, 4)
        expected = [getattr(live, name)(dim) for dim in (0, 1)]
        check_outputs(model.run(live), expected, SUMS)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_over_no_keys(masked: bool) -> None:
    """Zeros, as eager gives: a softmax of nothing weighs nothing."""
    arguments = [Arg((2, 5, 8)), Arg((2, 6, 8)), Arg((2, 6, 3))] + [Arg((5, 6))] * masked
    check_op(
        "et_vk.sdpa.default",
        arguments,
        torch.ops.et_vk.sdpa,
        args=lambda g, q, k, v, mask=None: (q, k, v, mask, None),
        live=[[(2, 5, 8), (2, n, 8), (2, n, 3), *([(5, n)] * masked)] for n in (0, 6, 0, 1)],
        tolerance=SUMS,
    )


def test_a_product_over_nothing() -> None:
    check_op(
        "aten.mm.default",
        [Arg((5, 6)), Arg((6, 3))],
        torch.mm,
        live=[[(5, n), (n, 3)] for n in (0, 6, 0, 2)],
        tolerance=SUMS,
    )


def test_no_tokens_through_an_embedding() -> None:
    table = torch.randn(5, 8)
    g = GraphBuilder()
    tokens = g.input(torch.int64, (1, 6))
    args = (g.constant(table), tokens, -1, False, False)
    g.output(g.call("aten.embedding.default", *args, out=(F32, (1, 6, 8))))
    with g.load() as model:
        for n in (0, 6, 0, 2):
            picked = torch.zeros(1, n, dtype=torch.int64)
            check_outputs(model.run(picked), [table[picked]], SUMS, f"{n} tokens")


def test_a_slice_of_nothing_feeds_the_rest() -> None:
    """x[n:] of n rows, and what follows it."""
    g = GraphBuilder()
    x = g.input(F32, (6, 4))
    rows = g.symint("sym_size.int", x, 0)
    tail = g.call("aten.slice_copy.Tensor", x, 0, rows, 9, 1, out=(F32, (6, 4)))
    both = g.call("aten.cat.default", [tail, x], 0, out=(F32, (6, 4)))
    g.output(tail, both)
    with g.load() as model:
        for n in (6, 1, 4):
            live = torch.randn(n, 4)
            check_outputs(model.run(live), [live[n:], live], SUMS, f"{n} rows")
