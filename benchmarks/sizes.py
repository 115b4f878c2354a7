"""Sizes of the decoders that are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from executorch_webgpu.decoders.config import DecoderConfig, Layer, Rope


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-shaped decoder."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    hidden_dim: int
    vocabulary: int
    norm_eps: float
    rope_theta: float

    def config(self) -> DecoderConfig:
        head = self.dim // self.heads
        frequencies = self.rope_theta ** (-torch.arange(0, head, 2) / head)
        return DecoderConfig(
            width=self.dim,
            hidden=self.hidden_dim,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_width=head,
            vocabulary=self.vocabulary,
            layers=(Layer(Rope(tuple(frequencies.tolist()))),) * self.layers,
            norm_eps=self.norm_eps,
        )


Size = Literal["135m", "1b", "1.5b", "8b"]

# SmolLM2-135M, Llama-3.2-1B, Qwen2.5-1.5B (but for its biases) and Llama-3.1-8B.
SHAPES: dict[Size, Shape] = {
    "135m": Shape(576, 30, 9, 3, 1536, 49152, 1e-5, 1e5),
    "1b": Shape(2048, 16, 32, 8, 8192, 128256, 1e-5, 5e5),
    "1.5b": Shape(1536, 28, 12, 2, 8960, 151936, 1e-6, 1e6),
    "8b": Shape(4096, 32, 32, 8, 14336, 128256, 1e-5, 5e5),
}
