"""Where each parameter of the definition lies in a file, under that format's names.

A rotary embedding turns pairs of elements. Files mostly have the two of a pair half a head apart;
the definition has them side by side, so the rows of q and k, of their biases and norms, are put in
that order when they are read. A row stays as it is, whatever its format.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .architectures import Architecture
from .config import DecoderConfig

# Parts of a layer, by the definition's names.
_GGUF = {
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
}
_GGUF_TOP = {"embedding": "token_embd", "norm": "output_norm", "output": "output"}
_GGUF_FUSED = {"qkv": "attn_qkv", "gate_up": "ffn_up"}

_HUGGING_FACE = {
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_HUGGING_FACE_TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
_HUGGING_FACE_FUSED = {"qkv": "self_attn.qkv_proj", "gate_up": "mlp.gate_up_proj"}


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

    def __init__(
        self, config: DecoderConfig, architecture: Architecture, gguf: bool, prefix: str = ""
    ) -> None:
        self._config, self._architecture, self._gguf = config, architecture, gguf
        self._prefix = prefix
        self._in_pairs = gguf and architecture.pairs_in_gguf

    def place(self, parameter: str) -> Place:
        """Of a parameter by its name in the definition, such as "layers.0.attention.q.weight"."""
        module, _, kind = parameter.rpartition(".")
        if not module.startswith("layers."):
            top = (_GGUF_TOP if self._gguf else _HUGGING_FACE_TOP)[module]
            return Place(f"{self._prefix}{top}.{kind}", add_one=self._adds_one(module))
        _, layer, part = module.split(".", 2)
        name, first, of = self._part(part)
        block = f"blk.{layer}" if self._gguf else f"{self._prefix}model.layers.{layer}"
        order = self._order(part)
        return Place(f"{block}.{name}.{kind}", first, of, order, self._adds_one(part))

    def _part(self, part: str) -> tuple[str, int, int | None]:
        """The name of a layer's part, the first of its rows, and how many rows are there."""
        c, fused = self._config, _GGUF_FUSED if self._gguf else _HUGGING_FACE_FUSED
        queries, keys = c.heads * c.head_width, c.kv_heads * c.head_width
        joined = {
            "attention.q": ("qkv", 0),
            "attention.k": ("qkv", queries),
            "attention.v": ("qkv", queries + keys),
            "feed_forward.gate": ("gate_up", 0),
            "feed_forward.up": ("gate_up", c.hidden),
        }
        if self._architecture.fused and part in joined:
            name, first = joined[part]
            return fused[name], first, queries + 2 * keys if name == "qkv" else 2 * c.hidden
        if self._gguf:
            return _GGUF[part], 0, None
        return {**_HUGGING_FACE, **self._architecture.norms}[part], 0, None

    def _adds_one(self, part: str) -> bool:
        # The converter to GGUF has added it.
        return self._architecture.norms_add_one and "norm" in part and not self._gguf

    def _order(self, part: str) -> Tensor | None:
        c, of_norm = self._config, part.endswith("_norm")
        if self._in_pairs or part.removesuffix("_norm") not in ("attention.q", "attention.k"):
            return None
        heads = c.heads if part.startswith("attention.q") else c.kv_heads
        return pair_order(c, 1 if of_norm and c.query_key_norm == "head" else heads)


def pair_order(config: DecoderConfig, heads: int) -> Tensor:
    """Rows of heads whose pairs lie half a rotation apart, in the order that has them together."""
    rotated = max((2 * len(x.rope.frequencies) for x in config.layers if x.rope), default=0)
    head = torch.arange(config.head_width)
    head[:rotated] = head[:rotated].view(2, -1).T.flatten()
    return (torch.arange(heads).unsqueeze(1) * config.head_width + head).flatten()
