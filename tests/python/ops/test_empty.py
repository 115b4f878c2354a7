"""Live sizes of zero between others: the sizes are right, and the next call works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import pytest
import torch
import torch.nn.functional as F
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
