"""Methods of one program that share mutable buffers, as the stock partitioner writes them."""

from __future__ import annotations

import itertools

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import executorch_webgpu
import pytest
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from support.stock import Program, export
from torch import nn

ONES = torch.ones(4)


class Counters(nn.Module):
    """Two buffers of equal first contents; methods below use one or both."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("a", torch.zeros(4))
        self.register_buffer("b", torch.zeros(4))


class Method(nn.Module):
    def __init__(self, state: nn.Module) -> None:
        super().__init__()
        self.state = state


class AddToA(Method):
    def forward(self, x):
        return self.state.a.add_(x) * 2


class GetA(Method):
    def forward(self, x):
        return self.state.a + x


class AddToBoth(Method):
    def forward(self, x):
        return self.state.a.add_(x) + self.state.b.add_(x * 10)


class ScaleBoth(Method):
    def forward(self, x):
        return self.state.a.mul_(x) + self.state.b.mul_(x)


class GetDifference(Method):
    def forward(self, x):
        return self.state.a * x - self.state.b


def exported(**methods: type[Method]) -> bytes:
    state = Counters()
    pte = {name: (method(state), (ONES,)) for name, method in methods.items()}
    return export(pte, alias_buffer_mutations=True)


def follows_eager(program: Program, methods: dict[str, type[Method]], calls) -> None:
    state = Counters()
    eager = {name: method(state) for name, method in methods.items()}
    for step, name in enumerate(calls):
        x = torch.full((4,), 1.0 + step)
        (got,) = program.run(name, x)
        torch.testing.assert_close(got, eager[name](x), rtol=0, atol=0)


@pytest.mark.parametrize("order", list(itertools.permutations(["add", "get", "also"])))
def test_one_method_writes_and_others_read(order):
    methods = {"add": AddToA, "get": GetA, "also": GetA}
    program = Program(exported(**methods))
    for name in order:
        program.load(name)
    follows_eager(program, methods, ["add", "get", "also", "add", "get", "add", "also", "get"])


def test_a_reader_that_has_run_already_sees_a_writer_loaded_later():
    methods = {"add": AddToA, "get": GetA}
    program = Program(exported(**methods))
    follows_eager(program, methods, ["get", "get", "add", "get", "add", "add", "get"])


def test_two_methods_write_both_buffers():
    methods = {"add": AddToBoth, "scale": ScaleBoth, "get": GetDifference}
    program = Program(exported(**methods))
    follows_eager(program, methods, ["add", "scale", "get", "add", "get", "scale", "scale", "get"])


class ReadsAndThenAdds(nn.Module):
    """An operator that the partitioner leaves out makes two delegates: one reads, one writes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x):
        doubled = torch.fmod(self.total * 2, 64.0)
        self.total.add_(x)
        return doubled + 1


def test_a_delegate_reads_what_a_later_one_of_its_method_writes():
    eager = ReadsAndThenAdds()
    pte = export({"forward": (ReadsAndThenAdds(), (ONES,))}, alias_buffer_mutations=True)
    program = Program(pte)
    for step in range(4):
        x = torch.full((4,), 1.0 + step)
        torch.testing.assert_close(program(x), [eager(x)], rtol=0, atol=0)


def test_programs_and_sessions_keep_to_themselves():
    pte = exported(add=AddToA, get=GetA)
    first, second = Program(pte), Program(pte)
    for _ in range(3):
        first.run("add", ONES)
    second.run("add", ONES)
    assert first.run("get", ONES * 0)[0].tolist() == [3] * 4
    assert second.run("get", ONES * 0)[0].tolist() == [1] * 4
    del first
    assert Program(pte).run("get", ONES * 0)[0].tolist() == [0] * 4


def test_buffers_that_cannot_be_told_apart_are_refused():
    program = Program(exported(both=AddToBoth, one=AddToA))
    program.load("both")
    with pytest.raises(RuntimeError):
        program.load("one")
    error = executorch_webgpu.last_error()
    for part in ("'one'", "'both'", "float32 [4]", "shared_states", "executorch_webgpu.lowering"):
        assert part in error
    assert program.run("both", ONES)[0].tolist() == [11] * 4


def test_states_can_be_kept_apart():
    program = Program(exported(both=AddToBoth, one=AddToA))
    executorch_webgpu.options(shared_states=False)
    try:
        program.run("both", ONES)
        assert program.run("one", ONES)[0].tolist() == [2] * 4
    finally:
        executorch_webgpu.options(shared_states=True)


class Caches(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers
        for i in range(layers):
            self.register_buffer(f"k{i}", torch.zeros(1, 16, 2, 8))
            self.register_buffer(f"v{i}", torch.zeros(1, 16, 2, 8))


class Attend(Method):
    """Attention layers over caches: `prefill` takes 5 tokens and `decode` one."""

    def forward(self, x, position):
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at <= 16 - x.shape[1])
        for i in range(self.state.layers):
            k, v = getattr(self.state, f"k{i}"), getattr(self.state, f"v{i}")
            torch.ops.llama.update_cache(x * (i + 1), k, at)
            torch.ops.llama.update_cache(x + i, v, at)
            x = torch.ops.llama.custom_sdpa(x, k, v, at, None, 0.0, True)
        return x


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_prefill_and_decode_share_their_caches(dtype):
    state = Caches(3)
    model = Attend(state)
    zero = torch.tensor([0])
    pte = export(
        {
            "prefill": (model, (torch.randn(1, 5, 2, 8), zero)),
            "decode": (model, (torch.randn(1, 1, 2, 8), zero)),
        }
    )
    executorch_webgpu.options(kv_cache_dtype=dtype)
    try:
        program = Program(pte)
        eager = Attend(Caches(3))
        torch.manual_seed(3)
        at = 0
        for name, tokens in (("prefill", 5), ("decode", 1), ("decode", 1), ("prefill", 5)):
            x = torch.randn(1, tokens, 2, 8)
            (got,) = program.run(name, x, torch.tensor([at]))
            want = eager(x, torch.tensor([at]))
            tolerance = 1e-4 if dtype == "f32" else 5e-3
            torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
            at += tokens
    finally:
        executorch_webgpu.options(kv_cache_dtype="f32")
