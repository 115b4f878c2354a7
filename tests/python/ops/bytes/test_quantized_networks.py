"""Networks that PT2E quantized statically, exported and run with the stock packages."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import executorch_webgpu  # noqa: F401  registers the backend
import pytest
import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from support.cases import generator_for
from support.eight_bits import computed, folded_programs
from support.stock import Program, export
from torch import nn
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

decomposed = torch.ops.quantized_decomposed


class Quantized(nn.Module):
    """A module after calibration: eager's, with its activations in 8 bits."""

    def __init__(self, model: nn.Module, *example: torch.Tensor) -> None:
        super().__init__()
        config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
        exported = torch.export.export(model.eval(), example).module()
        prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_global(config))
        for seed in range(4):
            prepared(*(inputs_like(x, "calibration", seed) for x in example))
        self.model = convert_pt2e(prepared)
        allow_exported_model_train_eval(self.model)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.model(*inputs)


def inputs_like(x: torch.Tensor, *key: object) -> torch.Tensor:
    return torch.randn(x.shape, generator=generator_for(*key))


class Images(nn.Module):
    """Every form of convolution, with numbers of channels that the exporter pads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, 1, 1, groups=12)
        self.pointwise = nn.Conv2d(12, 13, 1)
        self.block = nn.Conv2d(13, 13, 3, padding=2, dilation=2, bias=False)
        self.widen = nn.Conv2d(13, 16, 1)
        self.grouped = nn.Conv2d(16, 8, (3, 1), padding=(1, 0), groups=2)
        self.up = nn.ConvTranspose2d(8, 10, 3, 2, 1)
        self.last = nn.Conv2d(10, 20, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.colors = nn.Conv2d(5, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.stem(x))))
        x = self.pointwise(x)
        x = torch.relu(x + self.block(x))
        x = self.up(self.grouped(self.widen(x)))
        return self.colors(self.shuffle(self.last(x)))


class Pooled(nn.Module):
    """Pooling and a classifier, which stay floats between 8-bit layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 9, 5, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(9, 18, 3), nn.ReLU6()
        )
        self.classes = nn.Linear(18, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes(self.features(x).mean((2, 3), keepdim=True).flatten(1))


def layers(*sizes: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        out: list[nn.Module] = []
        for n, m in pairwise(sizes):
            out += [nn.Linear(n, m), nn.ReLU()]
        return nn.Sequential(*out[:-1])

    return make


IMAGES = ("add", "conv2d", "conv2d_dw", "conv2d_pw", "conv2d_transposed", "pixel_shuffle")
# The module, sizes of its input, operators that its delegates have, and by how many steps its
# output may differ: the exporter leaves out the quantization between layers that stay floats.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str], int]] = {
    "images": (Images, (2, 3, 23, 18), set(IMAGES), 0),
    "pooled": (Pooled, (4, 3, 33, 30), {"conv2d"}, 4),
    "layers": (layers(20, 44, 36, 7), (5, 20), {"linear"}, 0),
    "layers of a row": (layers(20, 44, 36, 7), (1, 20), {"linear_gemv"}, 0),
    # Of 18 elements, one is left to floats.
    "layers of odd widths": (layers(20, 18, 36, 7), (3, 2, 20), {"linear"}, 2),
}


def operators(pte: bytes) -> set[str]:
    return {name.decode() for name in re.findall(rb"et_vk\.q8ta_(\w+)\.default", pte)}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    make, sizes, expected_operators, steps = NETWORKS[name]
    torch.manual_seed(0)
    example = torch.randn(sizes)
    model = Quantized(make(), example)
    with folded_programs() as folded:
        pte = export({"forward": (model, (example,))})
    assert operators(pte) == expected_operators
    run, (program,) = Program(pte), folded
    for seed in range(3):
        x = inputs_like(example, name, seed)
        got, expected = run(x)[0], model(x)
        torch.testing.assert_close(got, computed(program, x)[0])  # steps are larger
        # The output's steps: eager's all are multiples of one.
        step = expected.unique().diff().min().item()
        assert expected.unique().numel() > 5
        assert ((got - expected).abs() <= steps * step * 1.01).all(), seed


class Bytes(nn.Module):
    """8-bit inputs and outputs of a delegate's own."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        a = decomposed.dequantize_per_tensor(x, 0.1, 3, -128, 127, torch.int8)
        b = decomposed.dequantize_per_tensor(y, 0.2, -5, -128, 127, torch.int8)
        added = decomposed.quantize_per_tensor(a + b, 0.25, 1, -128, 127, torch.int8)
        bent = decomposed.quantize_per_tensor(torch.relu(a), 0.05, -128, -128, 127, torch.int8)
        mixed = torch.nn.functional.pixel_shuffle(b, 2)
        return added, bent, decomposed.quantize_per_tensor(mixed, 0.3, 0, -128, 127, torch.int8)


def test_inputs_and_outputs_in_eight_bits() -> None:
    sizes = (1, 8, 3, 5)
    example = (torch.zeros(sizes, dtype=torch.int8), torch.ones(sizes, dtype=torch.int8))
    pte = export({"forward": (Bytes(), example)})
    assert {"add", "relu"} <= operators(pte)
    run = Program(pte)
    for seed in range(3):
        generator = generator_for("bytes", seed)
        given = [torch.randint(-128, 128, sizes, generator=generator).to(torch.int8) for _ in "xy"]
        for got, expected in zip(run(*given), Bytes()(*given), strict=True):
            assert torch.equal(got, expected)
