"""Several methods of one program, over one state."""

from __future__ import annotations

import pytest
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from executorch_webgpu.lowering import LoweringError, lower_program
from support.lowered import Stated, Within, graph_of, lowered, methods_follow_eager
from torch import nn


def numbers(step: int):
    return (torch.full((4,), 1.0 + step),)


def state() -> nn.Module:
    return Stated(None, a=torch.zeros(4), b=torch.zeros(4), passing=torch.zeros(4))


def put(s, x):
    return s.a.copy_(x) * 1


def put_beside(s, x):
    s.a.copy_(x)
    return torch.cumsum(x, 0)


def add_to_slice(s, x):
    s.a[1:3].add_(x[1:3])
    return s.a * 2


def add_to_rows(s, x):
    s.a.index_put_((torch.tensor([2, 0]),), x[:2])
    return s.a * 2


def add_sums(s, x):
    return s.a.add_(torch.cumsum(s.a + x, 0)) * s.b.add_(x)


READERS = {
    "get": lambda s, x: s.a + x,
    "difference": lambda s, x: s.a * x - s.b,
    "sums": lambda s, x: torch.cumsum(s.a, 0) * s.b,
}
METHODS = {
    "one is added to": {"add": lambda s, x: s.a.add_(x) * 2},
    "one of two alike": {
        "both": lambda s, x: s.a.add_(x) + s.b.add_(x * 10),
        "second": lambda s, x: s.b.add_(x) * 1,
        "third": lambda s, x: s.passing.add_(x) * s.b,
    },
    "set without a look": {"put": put},
    "set beside other work": {"put": put_beside},
    "part by part": {"slice": add_to_slice, "rows": add_to_rows},
    "with kernels of ExecuTorch": {"sums into": add_sums},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_share_states(name):
    methods = {key.replace(" ", "_"): m for key, m in (METHODS[name] | READERS).items()}
    writers = [key.replace(" ", "_") for key in METHODS[name]]
    calls = [call for writer in writers * 2 for call in (writer, *READERS)]
    methods_follow_eager(state, methods, ["get", *calls], numbers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.int64, torch.int8, torch.bool])
def test_types(dtype):
    methods = {
        "put": lambda s, x: s.a.copy_((x > 1.5).to(dtype)) * x,
        "get": lambda s, x: s.a * x,
    }
    methods_follow_eager(
        lambda: Stated(None, a=torch.zeros(4, dtype=dtype)), methods, ["put", "get"] * 2, numbers
    )


def test_one_buffer_by_other_names():
    shared = state()
    inner = Within(shared, lambda s, x: s.a.add_(x) * 1)
    outer = Stated(lambda s, x: s.within(x) + s.within.state.b)
    outer.within = inner
    program = lowered({"add": graph_of(inner, numbers(0)), "through": graph_of(outer, numbers(0))})
    assert program.run("add", torch.ones(4))[0].tolist() == [1] * 4
    assert program.run("through", torch.ones(4))[0].tolist() == [2] * 4
    assert program.run("add", torch.ones(4))[0].tolist() == [3] * 4


def test_one_name_for_other_buffers():
    add = {"first": (torch.zeros(4), 1.0), "second": (torch.ones(4), 2.0)}
    program = lowered(
        {
            name: graph_of(Stated(lambda s, x, by=by: s.a.add_(x * by) * 1, a=a), numbers(0))
            for name, (a, by) in add.items()
        }
    )
    for count in (1, 2, 3):
        assert program.run("first", torch.ones(4))[0].tolist() == [count] * 4
        assert program.run("second", torch.ones(4))[0].tolist() == [1 + 2 * count] * 4


def test_prefill_and_decode():
    def forward(s, x, position):
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at <= 10)
        for k, v in ((s.k0, s.v0), (s.k1, s.v1)):
            torch.ops.llama.update_cache(x * 2, k, at)
            torch.ops.llama.update_cache(x + 1, v, at)
            x = torch.ops.llama.custom_sdpa(x, k, v, at, None, 0.0, True)
        return x, s.n.add_(1.0) * 1

    def caches() -> nn.Module:
        sizes = {name: torch.zeros(1, 16, 2, 8) for name in ("k0", "v0", "k1", "v1")}
        return Stated(None, **sizes, n=torch.zeros(1))

    shared, eager = caches(), caches()
    inputs = {m: torch.randn(1, t, 2, 8) for m, t in {"prefill": 5, "decode": 1}.items()}
    zero = torch.tensor([0])
    program = lowered({m: graph_of(Within(shared, forward), (x, zero)) for m, x in inputs.items()})
    at = 0
    for method in ("prefill", "decode", "decode", "prefill"):
        got = program.run(method, inputs[method], torch.tensor([at]))
        expected = forward(eager, inputs[method], torch.tensor([at]))
        torch.testing.assert_close(got, list(expected), rtol=1e-4, atol=1e-4)
        at += inputs[method].shape[1]


def test_a_shared_state_that_no_delegate_holds_is_refused():
    shared = Stated(None, a=torch.zeros(4, dtype=torch.float64))
    methods = {"add": lambda s, x: s.a.add_(x) * 1, "get": lambda s, x: s.a * 2}
    graphs = {m: graph_of(Within(shared, f), numbers(0)) for m, f in methods.items()}
    with pytest.raises(LoweringError, match=r"add, get share the buffer 'state.a' .*float64"):
        lower_program(graphs)
