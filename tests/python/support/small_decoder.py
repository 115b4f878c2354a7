"""A decoder of two layers with seeded weights of 4 or 8 bits."""

from __future__ import annotations

from typing import Literal

import torch
from executorch_webgpu.decoders.lower import use_quantized_modules
from executorch_webgpu.decoders.quantize import QuantizedWeight
from executorch_webgpu.decoders.transformer import Transformer, empty_transformer
from sizes import Shape
from torch import nn

CONTEXT = 32


def small_decoder(bits: Literal[4, 8] = 4, vocabulary: int = 128) -> Transformer:
    """With an output layer that is the embedding, too."""
    generator = torch.Generator().manual_seed(0)
    model = empty_transformer(Shape(64, 2, 2, 1, 96, vocabulary, 1e-5, 1e4).config(), CONTEXT)
    weights = {}
    most = 1 << bits - 1
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            values = torch.randint(-most, most, module.weight.shape, generator=generator)
            scales = torch.rand(len(values), values.shape[1] // 32, generator=generator)
            weights[name] = QuantizedWeight(values.to(torch.int8), scales, bits)
    use_quantized_modules(model, {**weights, "embedding": weights["output"]})
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data = torch.rand(parameter.shape, generator=generator)
    return model
