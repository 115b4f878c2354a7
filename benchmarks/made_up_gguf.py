"""A GGUF file of a Llama-shaped decoder with made-up Q4_0 weights, to time llama.cpp with.

    python benchmarks/made_up_gguf.py 1b 1b.gguf

The sizes are those of the skeletons that benchmarks/shapes.py makes; speed does not depend on the
weights' values.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray
from sizes import SHAPES, Shape, Size

# A Q4_0 block: a float16 scale, then 32 nibbles.
_BLOCK, _BLOCK_BYTES = 32, 18

Tensor = tuple[str, tuple[int, ...]]


def write_gguf(path: Path, shape: Shape, context: int = 8192) -> None:
    """Write the file; one tensor at a time is in memory."""
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(context)
    writer.add_embedding_length(shape.dim)
    writer.add_feed_forward_length(shape.hidden_dim)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("no_vocab")
    for name, sizes in _tensors(shape):
        _announce(writer, name, sizes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for _, sizes in _tensors(shape):
        writer.write_tensor_data(_data(sizes, rng))
    writer.close()


def _tensors(shape: Shape) -> Iterator[Tensor]:
    """Name and sizes of each: matrices [N, K] and norms [K]. The embedding is also the output."""
    head = shape.dim // shape.heads
    queries, keys = shape.heads * head, shape.kv_heads * head
    yield "token_embd.weight", (shape.vocabulary, shape.dim)
    yield "output_norm.weight", (shape.dim,)
    for layer in range(shape.layers):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (shape.dim,),
            "attn_q": (queries, shape.dim),
            "attn_k": (keys, shape.dim),
            "attn_v": (keys, shape.dim),
            "attn_output": (shape.dim, queries),
            "ffn_norm": (shape.dim,),
            "ffn_gate": (shape.hidden_dim, shape.dim),
            "ffn_up": (shape.hidden_dim, shape.dim),
            "ffn_down": (shape.dim, shape.hidden_dim),
        }
        for name, size in sizes.items():
            yield f"blk.{layer}.{name}.weight", size


def _announce(writer: GGUFWriter, name: str, sizes: tuple[int, ...]) -> None:
    if len(sizes) == 1:
        writer.add_tensor_info(name, sizes, np.dtype(np.float32), 4 * sizes[0])
        return
    stored = (sizes[0], sizes[1] // _BLOCK * _BLOCK_BYTES)
    kind = GGMLQuantizationType.Q4_0
    writer.add_tensor_info(name, stored, np.dtype(np.uint8), stored[0] * stored[1], kind)


def _data(sizes: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.generic]:
    """Ones, or random nibbles with scales of 0.01: one row, repeated."""
    if len(sizes) == 1:
        return np.ones(sizes, np.float32)
    row = rng.integers(0, 256, (sizes[1] // _BLOCK, _BLOCK_BYTES), dtype=np.uint8)
    row[:, :2] = np.full((len(row), 1), 0.01, np.float16).view(np.uint8)
    return np.tile(row.reshape(1, -1), (sizes[0], 1))


def main(
    shape: Annotated[Size, typer.Argument(help="Size of the model.")],
    output: Annotated[Path, typer.Argument(help="The .gguf to write.")],
) -> None:
    """Write a GGUF with made-up weights."""
    write_gguf(output, SHAPES[shape])


if __name__ == "__main__":
    typer.run(main)
