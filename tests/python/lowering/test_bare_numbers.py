"""Numbers that are buffers, as PT2E's quantization leaves them behind."""

from __future__ import annotations

import pytest
import torch
from executorch_webgpu.lowering import partition
from executorch_webgpu.lowering.prepare import prepared
from support.lowered import Stated, follows_eager, graph_of, methods_follow_eager

EPSILON = torch.tensor(1e-2)


def norm(s, x):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + s.number) * s.weight


def given(forward, **others):
    return Stated(forward, number=EPSILON, weight=torch.linspace(0.5, 2, 8), **others)


def added(module, x):
    graph = prepared({"": graph_of(module, (x,))}, {"": {}})[""].graph
    (node,) = (n for n in graph.nodes if n.target is torch.ops.aten.add.Tensor)
    return node.args[1]


def test_epsilon():
    module, x = given(norm), torch.randn(3, 8)
    graph = partition(graph_of(module, (x,))).exported_program().graph
    assert sum("delegate" in str(n.target) for n in graph.nodes) == 1
    follows_eager(module, (x,), (x / 50,))


def of_halves(s, x):
    return x.half() + s.number


@pytest.mark.parametrize(
    ("forward", "is_number"),
    [
        (lambda s, x: x + s.number, True),
        (lambda s, x: s.number + x, True),
        (of_halves, False),
        (lambda s, x: x.int() + s.number, False),
        (lambda s, x: x[0, 0] + s.number, False),
        (lambda s, x: torch.add(x, s.number, alpha=3), False),
        (lambda s, x: x + s.weight, False),
    ],
    ids=["behind", "in front", "f16", "integers", "no dimensions", "alpha", "a row"],
)
def test_which_are_numbers(forward, is_number):
    module, x = given(forward), torch.randn(3, 8)
    assert isinstance(added(module, x), float) == is_number
    if forward is not of_halves:  # eager rounds after every operator
        follows_eager(module, (x,), (x / 50,))


def counted(s, x):
    s.number.add_(1)
    return x + s.number


def test_states_are_none():
    follows_eager(given(counted), *[(torch.randn(3, 8),) for _ in range(3)])


def test_states_of_other_methods_are_none():
    methods_follow_eager(
        lambda: given(lambda s: None),
        {"count": counted, "sum": lambda s, x: x + s.number},
        ("sum", "count", "sum", "count"),
        lambda step: (torch.randn(3, 8, generator=torch.Generator().manual_seed(step)),),
    )
