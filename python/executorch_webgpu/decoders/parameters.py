"""Where each parameter of the definition lies in a file, under that format's names.

A rotary embedding turns pairs of elements. Files mostly have the two of a pair half a head apart;
the definition has them side by side, so the rows of q and k, of their biases and norms, are put in
that order when they are read. A row stays as it is, whatever its format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .architectures import Architecture
from .config import DecoderConfig


@dataclass(frozen=True)
class Names:
    """A format's names, without what follows the last dot.

    Attributes:
        embedding, norm, output: of the parts beside the layers.
        layer: of a layer, with its number in braces.
        parts: of a layer's parts, by the definition's names.
        qkv, gate_up: of projections that are one tensor.
        converted: norms have the one that Gemma's lack, and q and k of some architectures are in
            pairs, as llama.cpp's converter leaves them.
    """

    embedding: str
    norm: str
    output: str
    layer: str
    parts: Mapping[str, str]
    qkv: str
    gate_up: str
    converted: bool


GGUF = Names(
    embedding="token_embd",
    norm="output_norm",
    output="output",
    layer="blk.{}",
    parts={
        "attention_norm": "attn_norm",
        "attention.q": "attn_q",
        "attention.k": "attn_k",
        "attention.v": "attn_v",
        "attention.out": "attn_output",
        "attention.q_norm": "attn_q_norm",
        "attention.k_norm": "attn_k_norm",
        "attention_post_norm": "post_attention_norm",
        "feed_forward_norm": "ffn_norm",
        "feed_forward.gate": "ffn_gate",
        "feed_forward.up": "ffn_up",
        "feed_forward.down": "ffn_down",
        "feed_forward_post_norm": "post_ffw_norm",
    },
    qkv="attn_qkv",
    gate_up="ffn_up",
    converted=True,
)


def hugging_face(root: str, output: str) -> Names:
    """Names as transformers has them, with what all but the output layer's begin with."""
    return Names(
        embedding=f"{root}embed_tokens",
        norm=f"{root}norm",
        output=output,
        layer=root + "layers.{}",
        parts={
            "attention.q": "self_attn.q_proj",
            "attention.k": "self_attn.k_proj",
            "attention.v": "self_attn.v_proj",
            "attention.out": "self_attn.o_proj",
            "attention.q_norm": "self_attn.q_norm",
            "attention.k_norm": "self_attn.k_norm",
            "feed_forward.gate": "mlp.gate_proj",
            "feed_forward.up": "mlp.up_proj",
            "feed_forward.down": "mlp.down_proj",
        },
        qkv="self_attn.qkv_proj",
        gate_up="mlp.gate_up_proj",
        converted=False,
    )


@dataclass(frozen=True)
class Place:
    """Where a parameter lies.

    Attributes:
        tensor: its name in the file.
        first: the first of its rows there.
        of: how many rows that tensor has; None where they are all this parameter's.
        order: which of its rows comes where, as indices; None for the file's own order.
        add_one: the file has the numbers less one.
    """

    tensor: str
    first: int = 0
    of: int | None = None
    order: Tensor | None = None
    add_one: bool = False


class Layout:
    """Finds the parameters of one model in a file of one format."""

    def __init__(self, config: DecoderConfig, architecture: Architecture, names: Names) -> None:
        self._config, self._architecture, self._names = config, architecture, names
        self._parts = {**names.parts, **({} if names.converted else architecture.norms)}
        self._fused = self._fused_parts() if architecture.fused else {}

    def place(self, parameter: str) -> Place:
        """Of a parameter by its name in the definition, such as "layers.0.attention.q.weight"."""
        module, _, kind = parameter.rpartition(".")
        if not module.startswith("layers."):
            name: str = getattr(self._names, module)
            return Place(f"{name}.{kind}", add_one=self._adds_one(module))
        _, layer, part = module.split(".", 2)
        name, first, of = self._fused.get(part) or (self._parts[part], 0, None)
        tensor = f"{self._names.layer.format(layer)}.{name}.{kind}"
        return Place(tensor, first, of, self._order(part), self._adds_one(part))

    def _fused_parts(self) -> dict[str, tuple[str, int, int | None]]:
        """The names of tensors that are several parts, the first row of each, and all rows."""
        c, names = self._config, self._names
        queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
        all_heads, both = queries + 2 * keys, 2 * c.hidden
        return {
            "attention.q": (names.qkv, 0, all_heads),
            "attention.k": (names.qkv, queries, all_heads),
            "attention.v": (names.qkv, queries + keys, all_heads),
            "feed_forward.gate": (names.gate_up, 0, both),
            "feed_forward.up": (names.gate_up, c.hidden, both),
        }

    def _adds_one(self, part: str) -> bool:
        lacks = self._architecture.norms_add_one and not self._names.converted
        return lacks and part.endswith("norm")

    def _order(self, part: str) -> Tensor | None:
        c, in_pairs = self._config, self._architecture.pairs_in_gguf and self._names.converted
        if in_pairs or part.removesuffix("_norm") not in ("attention.q", "attention.k"):
            return None
        of_head = part.endswith("_norm") and c.query_key_norm == "head"
        heads = c.heads if part.startswith("attention.q") else c.kv_heads
        return pair_order(c, 1 if of_head else heads)


def pair_order(config: DecoderConfig, heads: int) -> Tensor:
    """Rows of heads whose pairs lie half a rotation apart, in the order that has them together."""
    rotated = max((2 * len(x.rope.frequencies) for x in config.layers if x.rope), default=0)
    head = torch.arange(config.head_width)
    head[:rotated] = head[:rotated].view(2, -1).T.flatten()
    return (torch.arange(heads).unsqueeze(1) * config.head_width + head).flatten()
