"""The sizes that make one Llama-shaped decoder differ from another."""

from __future__ import annotations

from dataclasses import dataclass


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
