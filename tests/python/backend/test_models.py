"""Classes that people bring, in small: those of `./dev test-models` are whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from executorch_webgpu.lowering import quiet_upstream
from support.comparing import HOW, TOLERANCE, difference, load
from support.eight_bits import computed, folded_programs, quantized
from support.networks import First, Made, Tagger, UNet, settle
from torch import nn


def mobilenet() -> Made:
    config = transformers.MobileNetV2Config(depth_multiplier=0.35)
    model = transformers.MobileNetV2Model(config)
    return nn.Sequential(model.conv_stem, *model.layer[:4]), (torch.randn(1, 3, 64, 48),)


def resnet() -> Made:
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24], depths=[1, 1], layer_type="basic"
    )
    return First(transformers.ResNetModel(config), "pixel_values"), (torch.randn(2, 3, 50, 64),)


def vit() -> Made:
    config = transformers.ViTConfig(
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=48,
        patch_size=8,
    )
    return First(transformers.ViTModel(config), "pixel_values"), (torch.randn(2, 3, 48, 48),)


def bert() -> Made:
    config = transformers.BertConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        vocab_size=100,
    )
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 9:] = 0
    model = transformers.BertModel(config, add_pooling_layer=False)
    return First(model, "input_ids", "attention_mask"), (torch.randint(0, 100, (2, 12)), mask)


# And how they are exported: attention stays in more delegates by the stock exporter.
MODELS: dict[str, tuple[Callable[[], Made], list[str]]] = {
    "MobileNetV2": (mobilenet, ["lowered"]),
    "ViT": (vit, ["lowered"]),
    "BERT": (bert, ["stock", "lowered"]),
    "U-Net": (lambda: (UNet(), (torch.randn(1, 3, 24, 32),)), ["lowered"]),
    "LSTM tagger": (
        lambda: (Tagger(nn.LSTM), (torch.randint(0, 200, (2, 3)),)),
        ["lowered"],
    ),
}
CASES = [(name, how) for name, (_, hows) in MODELS.items() for how in hows]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_agrees_with_eager(name: str, how: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, inputs = MODELS[name][0]()
    module.eval()
    with torch.no_grad(), quiet_upstream():
        expected = module(*inputs)
        exported = torch.export.export(module, inputs, strict=False)
        model = load(HOW[how](exported), tmp_path)
    assert difference(model.execute("forward", inputs), [expected]) <= TOLERANCE


def test_eight_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, inputs = resnet()
    with torch.no_grad(), quiet_upstream(), folded_programs() as folded:
        module = quantized(settle(module, inputs), inputs)
        model = load(HOW["lowered"](torch.export.export(module, inputs)), tmp_path)
        (program,) = folded
        (expected,) = computed(program, *inputs)
    (got,) = model.execute("forward", inputs)
    assert torch.equal(got, expected)
