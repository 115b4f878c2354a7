"""Forms that models are exported in beside f32 with fixed sizes: 8 bits, f16, any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch_webgpu.lowering import quiet_upstream
from models_table import Row, measured
from support.comparing import HOW, TOLERANCE, difference, load
from support.eight_bits import computed, folded_programs, quantized
from support.networks import make, settle
from torch import Tensor, nn
from torch.export import Dim
from torch.utils._pytree import tree_leaves

# --- 8 bits: PT2E, static, with the quantizer that the exporter's own tests use ---

# Of results, which all are multiples of one step: some may be a step away, behind a sum of floats
# (a mean over the image) that is next to a tie.
NEIGHBOURS = 0.02


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet-18"])
def test_eight_bits(name: str, how: str, tmp_path: Path, note: Callable[[Row], None]) -> None:
    module, inputs = make(name, 1)
    with torch.no_grad(), quiet_upstream(), folded_programs() as folded:
        floats = settle(module, inputs)(*inputs)
        module = quantized(module, inputs)
        network = module(*inputs)
        model = load(HOW[how](torch.export.export(module, inputs)), tmp_path)
        (program,) = folded
        (expected,) = computed(program, *inputs)
    (got,) = model.execute("forward", inputs)
    step = expected.unique().diff().min()  # all are multiples of it
    apart = ((got - expected) / step).round().abs()
    assert apart.max() <= 1
    assert apart.mean() <= NEIGHBOURS
    # No farther from floats than eager's network in 8 bits.
    lost = distance(network, floats)
    assert 0 < distance(got, floats) <= lost < 0.5
    found = difference([got], [expected])
    note(measured(f"{name}, 8 bits", 1, how, model, inputs, found))


# --- f16: the partitioner's option ---


def differs_in_f16(module: nn.Module, inputs: tuple[Tensor, ...], expected: list[Tensor]) -> float:
    """How far eager's own f16 is from eager's f32."""
    half = module.half()
    got = half(*(x.half() if x.is_floating_point() else x for x in inputs))
    return difference([y.float() for y in tree_leaves(got)], expected)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet-18", "U-Net", "ViT-tiny", "BERT"])
def test_f16(name: str, how: str, tmp_path: Path, note: Callable[[Row], None]) -> None:
    """Weights and inputs are rounded to f16, and arithmetic is f32's: so the result is no farther
    from f32's than eager's f16 is, which rounds what every operator gives as well."""
    module, inputs = make(name, 1)
    module = settle(module, inputs)
    with torch.no_grad(), quiet_upstream():
        expected = tree_leaves(module(*inputs))
        exported = torch.export.export(module, inputs, strict=False)
        program = HOW[how](exported, {"force_fp16": True})
        most = differs_in_f16(module, inputs, expected)
    model = load(program, tmp_path)
    got = model.execute("forward", inputs)
    found = difference(got, expected)
    assert found <= most < 0.02
    note(measured(f"{name}, f16", 1, how, model, inputs, found))


# --- Any size, within bounds: the same program goes up and down ---

IMAGE = {2: Dim("height", min=32, max=224), 3: Dim("width", min=32, max=224)}
# Past 32, so that a 32nd of it is more than one: torch.export tells those apart.
LARGE = {2: Dim("height", min=33, max=224), 3: Dim("width", min=33, max=224)}
FOURS = {2: 4 * Dim("rows", min=4, max=24), 3: 4 * Dim("columns", min=4, max=24)}
SIZES = [(48, 64), (32, 32), (96, 80), (48, 64), (64, 96)]

DYNAMIC: dict[str, tuple[dict[int, Any], list[tuple[int, ...]]]] = {
    "ResNet-18": (LARGE, [(97, 64), (33, 50), (224, 160), (97, 64)]),
    "MobileNetV2": (LARGE, [(97, 64), (33, 50), (224, 160), (97, 64)]),
    "U-Net": (FOURS, SIZES),
    "autoencoder": (FOURS, SIZES),
    "super-resolution": (IMAGE, SIZES),
    "Conformer block": ({1: Dim("length", min=2, max=200)}, [(50,), (3,), (200,), (50,), (91,)]),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", DYNAMIC)
def test_any_size(name: str, how: str, tmp_path: Path, note: Callable[[Row], None]) -> None:
    dimensions, sizes = DYNAMIC[name]
    module, (example,) = make(name, 1)
    module = settle(module, (example,))

    def of_size(size: tuple[int, ...]) -> Tensor:
        shape = list(example.shape)
        for dimension, length in zip(dimensions, size, strict=True):
            shape[dimension] = length
        return torch.randn(shape)

    with torch.no_grad(), quiet_upstream():
        first = of_size(sizes[0])
        exported = torch.export.export(module, (first,), dynamic_shapes=(dimensions,), strict=False)
        model = load(HOW[how](exported), tmp_path)
        for size in sizes:
            x = of_size(size)
            found = difference(model.execute("forward", [x]), tree_leaves(module(x)))
            assert found <= TOLERANCE, size
    note(measured(f"{name}, any size ({'×'.join(map(str, size))})", 1, how, model, [x], found))
