"""Models that people bring agree with eager PyTorch, however they were exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from executorch_webgpu.lowering import quiet_upstream
from models_table import Row, measured
from support.comparing import HOW, TOLERANCE, difference, load
from support.networks import BATCHES, NETWORKS, make
from torch.utils._pytree import tree_leaves

# The stock partitioner leaves convolutions of several images to ExecuTorch's kernels, which take
# minutes for a call of these (docs/limits.md).
ONE_IMAGE = ("ResNet-18", "ResNet-50", "EfficientNet-B0", "ConvNeXt-tiny")
CASES = [
    (name, how, batch)
    for name in NETWORKS
    for how in HOW
    for batch in BATCHES
    if not (how == "stock" and batch > 1 and name in ONE_IMAGE)
]


@pytest.mark.parametrize(("name", "how", "batch"), CASES)
def test_agrees_with_eager(
    name: str, how: str, batch: int, tmp_path: Path, note: Callable[[Row], None]
) -> None:
    module, inputs = make(name, batch)
    with torch.no_grad(), quiet_upstream():
        expected = tree_leaves(module(*inputs))
        exported = torch.export.export(module, inputs, strict=False)
        model = load(HOW[how](exported), tmp_path)
    got = model.execute("forward", inputs)
    found = difference(got, expected)
    assert found <= TOLERANCE
    assert difference(model.execute("forward", inputs), expected) == found
    note(measured(name, batch, how, model, inputs, found))
