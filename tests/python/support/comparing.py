"""How models that people bring are exported, run and compared with eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import executorch_webgpu
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch_webgpu.lowering import lower_program

from . import quick_export as _faster_lowering  # noqa: F401

# Of the largest magnitude of an output: sums of thousands of products in another order.
TOLERANCE = 2e-5


def stock(program: torch.export.ExportedProgram, options: dict[str, Any] | None = None) -> bytes:
    """As the stock partitioner exports it, with its compile options."""
    edge = to_edge_transform_and_lower(program, partitioner=[VulkanPartitioner(options)])
    return bytes(edge.to_executorch().buffer)


def lowered(program: torch.export.ExportedProgram, options: dict[str, Any] | None = None) -> bytes:
    """As our lowering exports it."""
    return bytes(lower_program(program, options).buffer)


HOW: dict[str, Callable[..., bytes]] = {"stock": stock, "lowered": lowered}


def load(program: bytes, folder: Path) -> executorch_webgpu.Model:
    """The program as users load it, with the kernels that it needs."""
    path = folder / "model.pte"
    path.write_bytes(program)
    model = executorch_webgpu.load(path)
    model.import_kernels()
    return model


def difference(got: Sequence[Any], expected: Sequence[torch.Tensor]) -> float:
    """The largest, as a share of its output's largest magnitude."""
    assert len(got) == len(expected)
    worst = 0.0
    for a, b in zip(got, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.isfinite().all()
        largest = max(float(b.abs().max()), 1e-30)
        worst = max(worst, float((a.double() - b.double()).abs().max()) / largest)
    return worst
