"""Sizes of the decoders that are measured."""

from __future__ import annotations

from typing import Literal

from executorch_webgpu.shape import Shape

Size = Literal["135m", "1b", "8b"]

# SmolLM2-135M, Llama-3.2-1B and Llama-3.1-8B.
SHAPES: dict[Size, Shape] = {
    "135m": Shape(576, 30, 9, 3, 1536, 49152, 1e-5, 1e5),
    "1b": Shape(2048, 16, 32, 8, 8192, 128256, 1e-5, 5e5),
    "8b": Shape(4096, 32, 32, 8, 14336, 128256, 1e-5, 5e5),
}
