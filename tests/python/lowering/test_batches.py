"""Convolutions of several images, in one delegate."""

from __future__ import annotations

import torch
from support.cases import generator_for
from support.export import export_delegate
from torch import nn
from torch.export import Dim


def test_convolutions_of_batches() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(),
        nn.Conv2d(8, 6, 1), nn.ConvTranspose2d(6, 4, 2, 2), nn.MaxPool2d(2),
    ).eval()  # fmt: skip
    sizes = {0: Dim("batch", min=2, max=9)}
    inputs = (torch.randn(4, 3, 18, 14),)
    with export_delegate(module, inputs, (sizes,)).load() as delegate:
        for batch in (4, 2, 9, 3):
            x = torch.randn(batch, 3, 18, 14, generator=generator_for("batches", batch))
            torch.testing.assert_close(delegate.run(x), [module(x).detach()], rtol=1e-5, atol=1e-5)
