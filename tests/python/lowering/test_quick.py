"""Exports take a fraction of upstream's time, and give the bytes that upstream gives."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from executorch.exir import ExecutorchProgramManager
from executorch.exir.pass_base import _ExportPassBase
from executorch_webgpu.decoders.lower import lower
from executorch_webgpu.lowering import lower_program, quick, quick_upstream
from support.small_decoder import CONTEXT, small_decoder
from torch import nn


def decoder() -> ExecutorchProgramManager:
    return lower(small_decoder(), CONTEXT, {}, lambda *_: None)


class Counting(nn.Module):
    """Sizes, integers, a state, and what is left to ExecuTorch's kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.register_buffer("calls", torch.zeros(1))
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.rand(parameter.shape, generator=generator)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.calls.add_(1)
        y = self.convolution(x).relu()
        z = nn.functional.hardswish(y).flatten(1)
        return z @ z.T + self.calls, y.double().cumsum(1), y.split(4, 1)[1], z.argmax(1)


def network() -> ExecutorchProgramManager:
    batch = torch.export.Dim("batch", min=2, max=7)
    inputs = (torch.zeros(3, 3, 8, 8),)
    graph = torch.export.export(Counting().eval(), inputs, dynamic_shapes=({0: batch},))
    return lower_program(graph)


@pytest.mark.parametrize("make", [decoder, network], ids=["decoder", "network"])
def test_bytes_are_upstreams(
    make: Callable[[], ExecutorchProgramManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = make().buffer
    monkeypatch.setattr(quick, "_parts", lambda walked: [])
    assert make().buffer == quickly


def test_every_part_has_its_function() -> None:
    assert [part.name for part in quick._parts(lambda share: None) if not part.fits()] == []


@pytest.mark.parametrize("parameters", ["self y", "self x more", "self", None])
def test_what_upstream_changed_is_left_alone(parameters: str | None) -> None:
    owner = SimpleNamespace(f=lambda self, x: None)
    assert not quick.Part(owner, "f", parameters, lambda f: f).fits()
    assert not quick.Part(owner, "g", parameters or "self", lambda f: f).fits()


def test_upstream_is_itself_again_afterwards() -> None:
    before = _ExportPassBase._fx
    with pytest.raises(ValueError, match="inside"), quick_upstream(), quick_upstream():
        assert _ExportPassBase._fx is not before
        raise ValueError("inside")
    assert _ExportPassBase._fx is before
