"""Reading a Llama-shaped model from a GGUF file: shape, float weights and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import Tensor

from .errors import WebGPUError
from .shape import Shape
from .tokenizer import Vocabulary

_LAYER_NAMES = {
    "attn_norm": "attention_norm",
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
}
_TOP_NAMES = {
    "token_embd": "tok_embeddings",
    "output_norm": "norm",
    "output": "output",
}


class Checkpoint:
    """An open GGUF file. Raises WebGPUError when a needed field is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = GGUFReader(path)

    def shape(self, layers: int | None = None) -> Shape:
        """The model's sizes, with at most `layers` layers. Raises WebGPUError when that is none."""
        if layers is not None and layers < 1:
            raise WebGPUError(f"a model of {layers} layers is not a model")
        all_layers: int = self._field("llama.block_count")
        return Shape(
            dim=self._field("llama.embedding_length"),
            layers=min(layers or all_layers, all_layers),
            heads=self._field("llama.attention.head_count"),
            kv_heads=self._field("llama.attention.head_count_kv"),
            hidden_dim=self._field("llama.feed_forward_length"),
            vocabulary=self._field("llama.vocab_size"),
            norm_eps=float(np.float32(self._field("llama.attention.layer_norm_rms_epsilon"))),
            rope_theta=self._field("llama.rope.freq_base"),
        )

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(
            tokens=self._field("tokenizer.ggml.tokens"),
            merges=self._field("tokenizer.ggml.merges"),
            kinds=self._field("tokenizer.ggml.token_type"),
            bos=self._field("tokenizer.ggml.bos_token_id"),
            eos=self._field("tokenizer.ggml.eos_token_id"),
            chat_template=self._field("tokenizer.chat_template"),
        )

    def weights(self, layers: int) -> dict[str, Tensor]:
        """Float32 weights of the first `layers` layers, by upstream's parameter names.

        A model with tied embeddings has one tensor under both "tok_embeddings.weight" and
        "output.weight".
        """
        weights: dict[str, Tensor] = {}
        for tensor in self._reader.tensors:
            name = _parameter_name(tensor.name, layers)
            if name is not None:
                flat = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
                sizes = [int(size) for size in reversed(tensor.shape)]
                weights[name] = torch.from_numpy(flat.copy()).view(sizes)
        weights.setdefault("output.weight", weights["tok_embeddings.weight"])
        return weights

    def _field(self, name: str) -> Any:
        field = self._reader.fields.get(name)
        if field is None:
            raise WebGPUError(f"{self._path} has no field {name}")
        return field.contents()


def _parameter_name(gguf_name: str, layers: int) -> str | None:
    """Upstream's name of a GGUF tensor; None for one of a layer that is left out."""
    parts = gguf_name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        if int(parts[1]) >= layers:
            return None
        return f"layers.{parts[1]}.{_LAYER_NAMES[parts[2]]}.weight"
    return f"{_TOP_NAMES[parts[0]]}.weight"
