"""Programs that the stock exporter writes down wrongly, as far as the file shows it: refused."""

from __future__ import annotations

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import executorch_webgpu
import pytest
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from support.stock import Program, export, program
from torch import nn

REMEDY = "executorch_webgpu.lowering"


def refusal(module: nn.Module, *inputs, **options) -> str:
    """The sentence with which the program is refused, at load or at its first call."""
    with pytest.raises(RuntimeError):
        program(module, *inputs, **options)(*inputs)
    return executorch_webgpu.last_error()


class Adds(nn.Module):
    def __init__(self, constant: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("c", constant)

    def forward(self, x):
        return x + self.c


TABLE = torch.arange(24.0)
VIEWS = {
    "the end": TABLE[20:],
    "the beginning": TABLE[:4],
    "a row": TABLE.reshape(6, 4)[2],
    "halves": TABLE.half()[8:12],
    "integers": TABLE.int()[3:7],
    "flags": (TABLE > 5)[4:8],
}


@pytest.mark.parametrize("name", VIEWS)
def test_constants_that_are_views(name):
    error = refusal(Adds(VIEWS[name]), torch.zeros(4))
    assert "[4]" in error
    assert "clone()" in error
    assert REMEDY in error


@pytest.mark.parametrize(
    "constant",
    [TABLE.reshape(4, 6).t(), TABLE.reshape(6, 4)[:, 1:2], TABLE[1].expand(6, 1), TABLE[3:3]],
    ids=["transposed", "a column", "expanded", "empty"],
)
def test_constants_that_the_exporter_copies(constant):
    model = Adds(constant)
    x = torch.ones(constant.shape)
    torch.testing.assert_close(program(model, x)(x), [model(x)], rtol=0, atol=0)


class Counts(nn.Module):
    """`count` grows by a number or by the input; the output comes as often as there are updates."""

    def __init__(self, by_input: bool, *sizes: int) -> None:
        super().__init__()
        self.by_input = by_input
        self.register_buffer("count", torch.zeros(*sizes))

    def forward(self, x):
        self.count.add_(x if self.by_input else 1.0)
        y = x * 2 + self.count * 0
        return y, y.clone()


@pytest.mark.parametrize("by_input", [False, True])
def test_new_contents_that_nobody_takes(by_input):
    error = refusal(Counts(by_input, 2, 3), torch.randn(2, 3))
    assert "alias_buffer_mutations" in error
    assert REMEDY in error


@pytest.mark.parametrize("by_input", [False, True])
def test_new_contents_that_are_kept(by_input):
    model, x = Counts(by_input, 2, 3), torch.randn(2, 3)
    run = program(Counts(by_input, 2, 3), x, alias_buffer_mutations=True)
    for _ in range(3):
        torch.testing.assert_close(run(x), list(model(x)))


class AddsZeros(nn.Module):
    """As an untrained position embedding: zeros as large as a result, and no state."""

    def __init__(self) -> None:
        super().__init__()
        self.zeros = nn.Parameter(torch.zeros(2, 3))

    def forward(self, x):
        y = x + self.zeros
        return y, y.sum(1), y * 2


def test_zeros_that_are_no_state():
    model, x = AddsZeros(), torch.randn(2, 3)
    torch.testing.assert_close(program(model, x)(x), [y.detach() for y in model(x)])


class WritesItself(nn.Module):
    """A state that a view of it is written to: the graph's views go round in a circle."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.register_buffer("b", torch.arange(6.0).reshape(2, 3))

    def forward(self, x):
        y = x if self.first else self.b + x
        self.b.copy_(self.b.view(6).view(2, 3) if self.first else self.b.reshape(3, 2).view(2, 3))
        return self.b + y if self.first else y


@pytest.mark.parametrize("first", [False, True])
def test_a_state_that_is_written_to_itself(first):
    model, x = WritesItself(first).eval(), torch.ones(2, 3)
    run = program(WritesItself(first).eval(), x, alias_buffer_mutations=True)
    torch.testing.assert_close(run(x), [model(x)], rtol=0, atol=0)


class WritesTwice(nn.Module):
    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.register_buffer("k", torch.zeros(1, 16, 2, 8))
        self.register_buffer("v", torch.zeros(1, 16, 2, 8))

    def forward(self, q, k, v, position):
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at < 10)
        update = torch.ops.llama.update_cache
        update(k, self.k, at + self.first)
        update(k * 2, self.k, at + self.second)
        update(v, self.v, at)
        return torch.ops.llama.custom_sdpa(q, self.k, self.v, at, None, 0.0, True)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 1)])
def test_a_cache_written_twice(first, second):
    rows = [torch.randn(1, 3, heads, 8) for heads in (4, 2, 2)]
    error = refusal(WritesTwice(first, second), *rows, torch.tensor([0]))
    assert "write one cache" in error
    assert REMEDY in error


def test_the_next_program_runs():
    refusal(Adds(TABLE[20:]), torch.zeros(4))
    run = Program(export({"forward": (Adds(torch.ones(4)), (torch.zeros(4),))}))
    assert run(torch.zeros(4))[0].tolist() == [1] * 4
