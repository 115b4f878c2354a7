"""Models that people bring agree with eager PyTorch, however they were exported."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import executorch_webgpu
import pytest
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch_webgpu.lowering import lower_program, quiet_upstream
from models_table import REPETITIONS, Row
from networks import NETWORKS, make
from torch.utils._pytree import tree_leaves

# Of the largest magnitude of an output: sums of thousands of products in another order.
TOLERANCE = 2e-5


def stock(program: torch.export.ExportedProgram) -> bytes:
    edge = to_edge_transform_and_lower(program, partitioner=[VulkanPartitioner()])
    return bytes(edge.to_executorch().buffer)


def lowered(program: torch.export.ExportedProgram) -> bytes:
    return bytes(lower_program(program).buffer)


HOW: dict[str, Callable[[torch.export.ExportedProgram], bytes]] = {
    "stock": stock,
    "lowered": lowered,
}


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


def milliseconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


@pytest.mark.parametrize("batch", [1, 4], ids=["batch1", "batch4"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_eager(
    name: str, how: str, batch: int, tmp_path: Path, note: Callable[[Row], None]
) -> None:
    module, inputs = make(name, batch)
    with torch.no_grad(), quiet_upstream():
        expected = tree_leaves(module(*inputs))
        exported = torch.export.export(module, inputs, strict=False)
        path = tmp_path / "model.pte"
        path.write_bytes(HOW[how](exported))
    model = executorch_webgpu.load(path)
    model.import_kernels()
    got = model.execute("forward", inputs)
    found = difference(got, expected)
    assert found <= TOLERANCE
    assert difference(model.execute("forward", inputs), expected) == found
    (forward,) = [m for m in model.outline["methods"] if m["name"] == "forward"]
    took = milliseconds(lambda: model.execute("forward", inputs))
    calls = forward["delegate_calls"], forward["kernel_calls"]
    note(Row(name, batch, how, *calls, found, took))
