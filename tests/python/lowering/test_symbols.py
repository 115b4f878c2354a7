"""Numbers of which a program says more than its delegates hear."""

from __future__ import annotations

import pytest
import torch
from executorch_webgpu.lowering import partition
from support.lowered import Stated, follows_eager, graph_of

TABLE = torch.arange(32.0).reshape(8, 4)
PLACES = [(torch.randn(3, 4), torch.tensor([place])) for place in (2, 0, 4, 5)]


def rows_at(s, x, p):
    start = p[0].item()
    torch._check(start >= 0)
    torch._check(start + 3 <= 8)
    return s.table.narrow(0, start, 3)


def apart(s, x, p):
    """ExecuTorch adds up between two delegates, of which both cut rows at the number."""
    return torch.cumsum(x + rows_at(s, x, p), 0) * 2 + rows_at(s, x, p)


def inside(s, x, p):
    return x + rows_at(s, x, p) * 2


def given_out(s, x, p):
    """What ExecuTorch adds up are rows, too."""
    rows = rows_at(s, x, p)
    return torch.cumsum(x + rows, 0) + rows, torch.cumsum(rows * 2, 1)


@pytest.mark.parametrize("forward", [apart, inside, given_out])
def test_rows_from_a_number_on(forward):
    follows_eager(Stated(forward, table=TABLE), *PLACES)


def test_what_is_cut_apart_is_cut_in_delegates():
    graph = partition(graph_of(Stated(apart, table=TABLE), PLACES[0])).exported_program().graph
    called = [str(n.target) for n in graph.nodes if n.op == "call_function"]
    assert sum("delegate" in name for name in called) > 1
    assert not any("slice" in name for name in called), called


def one_delegate_alone(s, x, p):
    """The second does not read the number, but what is asserted of it could be there."""
    n, start = x.shape[0], p[0].item()
    torch._check(start >= 0)
    torch._check(start + n <= 8)
    total = torch.cumsum(x + s.table.narrow(0, start, n), 0)
    return (total * 2).view(4 * n) + 1


def test_any_number_of_rows():
    rows = torch.export.Dim("rows", min=2, max=7)
    steps = [(torch.randn(n, 4), torch.tensor([place])) for n, place in ((3, 2), (7, 1), (2, 6))]
    follows_eager(
        Stated(one_delegate_alone, table=TABLE), *steps, dynamic_shapes=(({0: rows}, None),)
    )


def test_delegates_assert_nothing():
    """What they would be given for it, nothing in their files reads."""
    module = partition(graph_of(Stated(apart, table=TABLE), PLACES[0])).exported_program()
    delegated = [child.original_module for child in module.graph_module.children()]
    called = [str(node.target) for program in delegated for node in program.graph.nodes]
    assert called
    assert not any("assert" in name for name in called), called
