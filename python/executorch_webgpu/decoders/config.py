"""What makes one decoder differ from another, once its weights are left aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["silu", "gelu", "gelu_tanh"]


@dataclass(frozen=True)
class Rope:
    """A rotary position embedding.

    Attributes:
        frequencies: radians a position, for each pair of a head's elements; a head's other elements
            stay as they are.
        magnitude: of the rotated elements, beside what they were.
    """

    frequencies: tuple[float, ...]
    magnitude: float = 1.0


@dataclass(frozen=True)
class Layer:
    """What layers of one model may differ in.

    Attributes:
        rope: None for a layer that does not see positions.
        window: keys that a query sees, itself among them; all before it where None.
    """

    rope: Rope | None
    window: int | None = None


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only transformer with gated feed-forward networks and RMS norms.

    Attributes:
        width: elements of a token's vector.
        hidden: elements between a feed-forward network's layers.
        head_width: elements of a head.
        biases: which linear layers have one: "q", "k", "v", "out", "gate", "up", "down".
        norm_before, norm_after: whether attention and feed-forward have a norm of their inputs, and
            of their outputs before these are added to the residual.
        query_key_norm: norms of q and k before they are rotated, over each head or all of them.
        attention_scale: of the products of q and k; None for 1 / sqrt(head_width).
        attention_cap, logit_cap: c, where scores or logits x become c tanh(x / c).
        embedding_scale, residual_scale, logit_scale: factors of embeddings, of what is added to the
            residual, and of logits.
        tied: the embedding is the output layer's weight, too.
    """

    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    layers: tuple[Layer, ...]
    norm_eps: float
    activation: Activation = "silu"
    biases: frozenset[str] = frozenset()
    norm_before: bool = True
    norm_after: bool = False
    query_key_norm: Literal["head", "all"] | None = None
    attention_scale: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    tied: bool = True
