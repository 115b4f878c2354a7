"""Small networks of convolutions and pooling, exported and run with the stock packages."""

from __future__ import annotations

from collections.abc import Callable

import executorch_webgpu  # noqa: F401  registers the backend
import pytest
import torch
from support.cases import generator_for
from support.stock import program
from torch import nn
from torch.export import Dim


def norm(channels: int) -> nn.BatchNorm2d:
    """As after training: nothing is 0 or 1."""
    out = nn.BatchNorm2d(channels)
    generator = generator_for("norm", channels)
    for tensor in (out.weight, out.bias, out.running_mean):
        assert tensor is not None
        nn.init.uniform_(tensor, -0.5, 1.0, generator)
    assert out.running_var is not None
    nn.init.uniform_(out.running_var, 0.5, 2.0, generator)
    return out


class Residual(nn.Module):
    """ResNet's basic block behind its stem."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, norm(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(
            nn.Conv2d(16, 24, 3, 2, 1), norm(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1), norm(24)
        )
        self.skip = nn.Conv2d(16, 24, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return torch.relu(self.body(x) + self.skip(x))


def inverted_residual() -> nn.Module:
    """MobileNet's: out by 1x1, depthwise, back by 1x1."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 1), norm(24), nn.ReLU6(),
        nn.Conv2d(24, 24, 3, 2, 1, groups=24), norm(24), nn.ReLU6(),
        nn.Conv2d(24, 8, 1), norm(8), nn.Hardswish(),
    )  # fmt: skip


def decoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2),
        nn.AvgPool2d(3, 2, 1),
    )  # fmt: skip


def dilated() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=2, dilation=2), nn.GELU(), nn.AvgPool2d(2, ceil_mode=True),
        nn.Conv2d(8, 12, (1, 5), padding=(0, 2), groups=4), nn.MaxPool2d(2, 1),
    )  # fmt: skip


class Excited(nn.Module):
    """EfficientNet's block: SiLU, a depthwise convolution, squeeze and excitation, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Conv2d(3, 12, 1), norm(12), nn.SiLU())
        self.wise = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1, groups=12), norm(12), nn.SiLU())
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 4, 1), nn.SiLU(), nn.Conv2d(4, 12, 1)
        )
        self.back = nn.Sequential(nn.Conv2d(12, 3, 1), norm(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.wise(self.out(x))
        return x + self.back(y * torch.sigmoid(self.excite(y)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "inverted residual": inverted_residual,
    "decoder": decoder,
    "dilated": dilated,
    "squeeze and excitation": Excited,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_images(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    side = {"height": 40, "width": 36}
    run = program(model, torch.randn(1, 3, *side.values()))
    for seed in range(3):
        x = torch.randn(1, 3, *side.values(), generator=generator_for(name, seed))
        torch.testing.assert_close(run(x), [model(x).detach()], rtol=1e-5, atol=2e-5)


def test_sound() -> None:
    """wav2vec2's layers in one dimension, over a length that changes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 10, 5, bias=False), nn.GELU(), nn.Conv1d(16, 24, 3, 2), nn.GELU(),
        nn.Conv1d(24, 24, 8, padding=4, groups=4), nn.Conv1d(24, 4, 1),
    ).eval()  # fmt: skip
    length = Dim("length", min=100, max=800)
    run = program(model, torch.randn(1, 1, 400), dynamic_shapes=({2: length},))
    for n in (800, 100, 333, 400, 101):
        x = torch.randn(1, 1, n, generator=generator_for("sound", n))
        torch.testing.assert_close(run(x), [model(x).detach()], rtol=1e-5, atol=2e-5)
