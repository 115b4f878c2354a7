"""What a program passes to a delegate: merged outputs, unread inputs, empty tensors, layouts."""

from __future__ import annotations

import re

import executorch_webgpu
import pytest
import torch
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from support.stock import program
from torch import Tensor, nn


def module(forward) -> nn.Module:
    """A module without weights: `forward` of the inputs alone."""

    class Plain(nn.Module):
        def forward(self, *inputs):
            return forward(*inputs)

    return Plain()


def check(expected, got) -> None:
    expected = [expected] if isinstance(expected, Tensor) else expected
    assert [g.shape for g in got] == [e.shape for e in expected]
    for g, e in zip(got, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-5, atol=1e-5)


def refusal(call, *inputs) -> str:
    with pytest.raises(RuntimeError):
        call(*inputs)
    return executorch_webgpu.last_error()


MATRIX = torch.arange(6.0).reshape(2, 3)

MERGED = {
    "clone": lambda x: (x * 2, (x * 2).clone()),
    "the same value twice": lambda x: ((y := x * 2), y),
    "a clone": lambda x: ((y := x * 2), y.clone()),
    "three clones": lambda x: ((y := x * 2), y.clone(), y.clone(), y.clone()),
    "a full slice": lambda x: ((y := x * 2), y[:]),
    "an expand": lambda x: ((y := x * 2), y.expand(2, 3)),
    "clones beside another output": lambda x: ((y := x * 2), y.clone(), y.sum(1), y.clone()),
    "clones of two outputs": lambda x: ((y := x * 2), (z := y.sum(1)), y.clone(), z.clone()),
}


@pytest.mark.parametrize("name", MERGED)
def test_outputs_that_the_exporter_merges(name):
    model = module(MERGED[name])
    run = program(model, MATRIX)
    for _ in range(2):
        x = torch.randn(2, 3)
        check(model(x), run(x))


def test_merged_outputs_with_dynamic_sizes():
    model = module(lambda x: ((y := x * 2), y.clone(), y.sum(1)))
    rows = torch.export.Dim("rows", max=9)
    run = program(model, MATRIX, dynamic_shapes={"inputs": ({0: rows},)})
    for count in (2, 9, 0, 1, 5):
        x = torch.randn(count, 3)
        check(model(x), run(x))


def test_merged_outputs_that_cannot_be_told_apart_are_refused():
    run = program(module(lambda x: ((y := x * 2), x + 1, y.clone())), MATRIX)
    error = refusal(run, MATRIX)
    assert "output 2" in error or "output 1" in error
    assert "copies" in error


def test_unread_integers():
    def forward(x, position, other):
        for value in (position.item(), other.item()):
            torch._check(value >= 0)
            torch._check(value < 100)
        return x + 1, x * other.item()

    model = module(forward)
    inputs = (torch.randn(3), torch.tensor([5]), torch.tensor([7]))
    run = program(model, *inputs)
    check(model(*inputs), run(*inputs))


class TwoPositions(nn.Module):
    """Attention with its own cache as optimum-executorch writes it: positions that are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.zeros(1, 16, 2, 8))
        self.register_buffer("v", torch.zeros(1, 16, 2, 8))

    def forward(self, q, k, v, position, other):
        first, second = position[0].item(), other[0].item()
        for value in (first, second):
            torch._check(value >= 0)
            torch._check(value < 15)
        torch.ops.llama.update_cache(k, self.k, first)
        torch.ops.llama.update_cache(v, self.v, first)
        return torch.ops.llama.custom_sdpa(q, self.k, self.v, second, None, 0.0, True)


def test_unread_position_beside_an_equal_one():
    def inputs(step):
        torch.manual_seed(step)
        rows = [torch.randn(1, 1, heads, 8) for heads in (4, 2, 2)]
        return (*rows, torch.tensor([step]), torch.tensor([step]))

    eager = TwoPositions()
    run = program(TwoPositions(), *inputs(0))
    for step in range(4):
        check(eager(*inputs(step)), run(*inputs(step)))
    *rows, position, other = inputs(4)
    error = refusal(run, *rows, position, other + 1)
    assert re.search(r"value \d or value \d", error)
    assert "int64 [1]" in error
    check(eager(*inputs(4)), run(*inputs(4)))  # the refused call has left no trace


def test_merged_outputs_and_unread_inputs_together():
    def forward(x, position):
        value = position.item()
        torch._check(value >= 0)
        y = x * 2
        return y, y.clone()

    inputs = (torch.randn(3), torch.tensor([5]))
    model = module(forward)
    check(model(*inputs), program(model, *inputs)(*inputs))


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8), (2, 3, 0), (0, 0, 0)])
def test_empty_inputs(shape):
    model = module(lambda x: (x * 2, x.sum(1)))
    run = program(model, torch.zeros(shape))
    check(model(torch.zeros(shape)), run(torch.zeros(shape)))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_growing_from_nothing(dim):
    """A cache that a program concatenates to, as long as it is."""
    sizes = [2, 3, 8]
    sizes[dim] = 4
    length = torch.export.Dim("length", min=0, max=16)
    model = module(lambda cache, x: torch.cat([cache, x], dim))
    new = torch.randn([1 if d == dim else s for d, s in enumerate(sizes)])
    run = program(model, torch.zeros(sizes), new, dynamic_shapes={"inputs": ({dim: length}, None)})
    cache = torch.zeros([0 if d == dim else s for d, s in enumerate(sizes)])
    for _ in range(4):
        check(model(cache, new), run(cache, new))
        cache = model(cache, new)
    cache = torch.zeros([0 if d == dim else s for d, s in enumerate(sizes)])
    check(model(cache, new), run(cache, new))


def test_a_size_that_the_export_holds_for_fixed():
    """torch.export records that two rows and more have a first one."""
    model = module(lambda x: (x * 2)[:1])
    rows = torch.export.Dim("rows", min=0, max=9)
    run = program(model, MATRIX, dynamic_shapes={"inputs": ({0: rows},)})
    check(model(MATRIX), run(MATRIX))
    error = refusal(run, MATRIX[:0])
    assert "sizes are now [0, 3], but the program has [1, 3]" in error
    assert "smallest size" in error
    check(model(MATRIX), run(MATRIX))


def test_channels_last():
    model = module(lambda x, y: (x * 2 + 1, x + y, x.sum(1)))
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    first = torch.randn(2, 3, 4, 5)
    run = program(model, last, first)
    check(model(last, first), run(last, first))


def test_channels_last_through_images():
    model = nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2), nn.Sigmoid())
    x = torch.randn(1, 3, 4, 6).to(memory_format=torch.channels_last)
    check(model(x), program(model, x)(x))


def test_channels_last_in_other_types():
    model = module(lambda a, b: (a + a, torch.logical_not(b)))
    a = torch.arange(24).reshape(1, 3, 2, 4).to(memory_format=torch.channels_last)
    b = (a % 2 == 0).to(memory_format=torch.channels_last)
    check(model(a, b), program(model, a, b)(a, b))
