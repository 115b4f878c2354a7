"""Inputs through `load`: laid out as the program takes them, or refused with what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import executorch_webgpu
import numpy as np
import pytest
import torch
from executorch_webgpu import WebGPUError
from support.program import save
from torch import nn

IMAGE = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)
ROWS = torch.export.Dim("rows", max=6)


class Line(nn.Module):
    def forward(self, x):
        return x * 2 + 1


class Numbers(nn.Module):
    def forward(self, x, count: int, factor: float, flag: bool):
        return x * count + factor if flag else x


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def image(folder) -> executorch_webgpu.Model:
    return executorch_webgpu.load(save(folder, "image", Line(), (IMAGE,)).pte)


@pytest.fixture(scope="module")
def rows(folder) -> executorch_webgpu.Model:
    shapes = {"x": {0: ROWS}}
    saved = save(folder, "rows", Line(), (torch.ones(2, 3),), dynamic_shapes=shapes)
    return executorch_webgpu.load(saved.pte)


@pytest.fixture(scope="module")
def numbers(folder) -> executorch_webgpu.Model:
    saved = save(folder, "numbers", Numbers(), (torch.ones(4), 3, 0.5, True), partly=True)
    return executorch_webgpu.load(saved.pte)


@pytest.mark.parametrize(
    "x",
    [
        IMAGE,
        IMAGE.transpose(2, 3),
        IMAGE.to(memory_format=torch.channels_last),
        torch.ones(1, 3, 1, 1).expand(1, 3, 4, 4),
        IMAGE.repeat(1, 1, 1, 2)[..., ::2],
        IMAGE.clone().requires_grad_(),
    ],
    ids=["contiguous", "transposed", "channels last", "expanded", "strided", "with gradient"],
)
def test_every_layout_gives_the_same(image, x):
    (out,) = image.forward(x)
    torch.testing.assert_close(out, (x * 2 + 1).detach().contiguous())


@pytest.mark.parametrize(
    "x",
    [torch.ones(3, 0).t(), torch.ones(1, 3).expand(5, 3)[torch.zeros(0, dtype=torch.int64)]],
    ids=["transposed", "indexed"],
)
def test_an_empty_input_of_any_strides(rows, x):
    assert rows.forward(x)[0].shape == (0, 3)


def test_a_program_of_channels_last_inputs(folder):
    last = IMAGE.to(memory_format=torch.channels_last)

    class Rest(nn.Module):
        def forward(self, x):
            return torch.fmod(x, 0.3)

    saved = save(folder, "last", Rest(), (last,), partly=True)
    model = executorch_webgpu.load(saved.pte)
    (wanted,) = model.outline["methods"][0]["inputs"]
    assert wanted["contiguous"] is False
    (out,) = model.forward(last)
    torch.testing.assert_close(out, torch.fmod(last, 0.3))


def refusal(model: executorch_webgpu.Model, *inputs: object) -> str:
    with pytest.raises(WebGPUError) as refused:
        model.forward(*inputs)
    return str(refused.value).removeprefix(f"{model.path}: ")


@pytest.mark.parametrize(
    ("x", "given"),
    [
        (IMAGE[:, :2].contiguous(), "float32 [1, 2, 4, 4]"),
        (IMAGE[0], "float32 [3, 4, 4]"),
        (IMAGE.double(), "float64 [1, 3, 4, 4]"),
        (IMAGE.bfloat16(), "bfloat16 [1, 3, 4, 4]"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.complex64), "complex64 [1, 3, 4, 4]"),
        (torch.tensor(1.0), "float32 []"),
    ],
)
def test_a_tensor_that_does_not_fit(image, x, given):
    sentence = refusal(image, x)
    assert sentence == f"input 0 of 'forward' is {given}, not float32 [1, 3, 4, 4]"
    assert image.forward(IMAGE)


def test_a_tensor_past_the_bound(rows):
    for x in (torch.ones(7, 3), torch.ones(2, 2, 3)):
        sentence = refusal(rows, x)
        assert sentence.endswith(f"is float32 {list(x.shape)}, not float32 of at most [6, 3]")
    assert rows.forward(torch.ones(6, 3))[0].shape == (6, 3)


@pytest.mark.parametrize("x", [None, [1.0], "x", np.ones((2, 3), np.float32), 3])
def test_no_tensor_at_all(rows, x):
    given = repr(x) if isinstance(x, int | str | None) else f"of type {type(x).__name__}"
    assert refusal(rows, x) == (
        f"input 0 of 'forward' is no tensor but {given}: it takes float32 of at most [6, 3]"
    )


def test_wrong_counts(rows, numbers):
    assert refusal(rows) == "'forward' takes 1 inputs (float32 [6, 3]) but got 0"
    sentence = refusal(numbers, torch.ones(4), 3)
    assert (
        sentence == "'forward' takes 4 inputs (float32 [4], int 3, double 0.5, bool True) but got 2"
    )


def test_numbers_are_those_of_the_export(numbers):
    x = torch.ones(4)
    assert numbers.forward(x, 3, 0.5, True)[0].tolist() == [3.5] * 4
    in_tensors = torch.tensor(3), torch.tensor([0.5]), torch.tensor(True)  # as `run` reads them
    assert numbers.forward(x, *in_tensors)[0].tolist() == [3.5] * 4
    for inputs, given in (
        ((x, 4, 0.5, True), "input 1 of 'forward' is 4, not the int 3 of its export"),
        ((x, 2**70, 0.5, True), f"is {2**70}, not the int 3"),
        ((x, None, 0.5, True), "is None, not the int 3"),
        ((x, torch.tensor(4), 0.5, True), "is 4, not the int 3"),
        ((x, torch.ones(2), 0.5, True), "is of type Tensor, not the int 3"),
        ((x, 3, float("nan"), True), "input 2 of 'forward' is nan, not the double 0.5"),
        ((x, 3, 0.5, False), "input 3 of 'forward' is False, not the bool True"),
    ):
        assert given in refusal(numbers, *inputs)


def test_more_dimensions_than_executorch_survives(rows):
    """Its Python extension ends the process: in one of its own, should it come so far."""
    code = f"""
import torch, executorch_webgpu
model = executorch_webgpu.load({str(rows.path)!r})
for inputs in ([torch.ones([1] * 17)], [torch.ones(2, 3), torch.ones([1] * 20)]):
    try:
        model.execute("forward", inputs)
    except executorch_webgpu.WebGPUError as error:
        print(error)
print(model.forward(torch.ones(1, 3))[0].tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, second, good = done.stdout.splitlines()
    assert "not float32 of at most [6, 3]" in first and "takes 1 inputs" in second
    assert good == "[[3.0, 3.0, 3.0]]"
