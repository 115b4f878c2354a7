"""llama.cpp's CPU build, of PyPI's cyllama: logits of a GGUF file, and its own quantization.

    pip install --no-deps cyllama==0.2.18      # 15 MB

It computes in float32 where it can: the cache has that type, and attention is not fused. What it
multiplies by 4-bit or 8-bit weights it rounds to 8 bits all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
from cyllama.llama import llama_cpp as native
from gguf import LlamaFileType
from numpy.typing import NDArray

Logits = NDArray[np.float32]

_F32, _NEVER = 0, 0  # of ggml_type, of llama_flash_attn_type


class _Model(native.LlamaModel):  # type: ignore[misc]
    """With what `get_logits_ith` looks for, which cyllama 0.2.18 has elsewhere."""

    @property
    def n_vocab(self) -> int:
        return int(self.get_vocab().n_vocab)


class LlamaCpp:
    """A model, with one conversation in its cache."""

    def __init__(self, file: Path, context: int) -> None:
        native.disable_logging()
        model = native.LlamaModelParams()
        model.n_gpu_layers = 0
        self._model = _Model(str(file), model, verbose=False)
        params = native.LlamaContextParams()
        params.n_ctx = params.n_batch = params.n_ubatch = context
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = _F32
        params.flash_attn_type = _NEVER
        self._context = native.LlamaContext(self._model, params, verbose=False)
        self._position = 0

    def forget(self) -> None:
        """Empty the cache."""
        self._context.kv_cache_clear()
        self._position = 0

    def __call__(self, tokens: Sequence[int]) -> Iterator[Logits]:
        """The logits [V] after each of some tokens more."""
        batch = native.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1, verbose=False)
        batch.set_batch(list(tokens), self._position, True)
        self._context.decode(batch)
        self._position += len(tokens)
        for i in range(len(tokens)):
            yield np.asarray(self._context.get_logits_ith(i), dtype=np.float32)


def quantize(source: Path, target: Path, pure: bool = False) -> None:
    """Q4_0 of a file of floats, as `llama-quantize` makes it; `pure`: the embedding, too."""
    params = native.LlamaModelQuantizeParams()
    params.ftype = int(LlamaFileType.MOSTLY_Q4_0)
    params.pure = pure
    native.model_quantize(str(source), str(target), params)


def write_floats(source: Path, target: Path) -> None:
    """The same file with every tensor as F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        sub = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub)
    for tensor in reader.tensors:
        floats = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.asarray(floats, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
