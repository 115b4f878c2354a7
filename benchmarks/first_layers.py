"""A GGUF file with the first layers of another, for systems that take long.

    python benchmarks/first_layers.py smollm2 6 OUT.gguf

Everything else, vocabulary included, is as it was. The source is a file, or smollm2.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from executorch_webgpu.decoders.sources import BUILT_IN, smollm2_file
from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys

_BLOCK = re.compile(r"blk\.(\d+)\.")


def write_first_layers(source: Path, layers: int, path: Path) -> None:
    """Write the file, of the same fields and of the same tensors but for those of later layers."""
    reader = GGUFReader(source)
    architecture = reader.fields[Keys.General.ARCHITECTURE].contents()
    writer = GGUFWriter(path, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == Keys.General.ARCHITECTURE:
            continue
        kinds = field.types
        inner = kinds[-1] if kinds[0] == GGUFValueType.ARRAY else None
        is_count = name == Keys.LLM.BLOCK_COUNT.format(arch=architecture)
        value = layers if is_count else field.contents()
        writer.add_key_value(name, value, kinds[0], inner)
    kept = [tensor for tensor in reader.tensors if _layer(tensor.name) < layers]
    for tensor in kept:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in kept:
        writer.write_tensor_data(tensor.data)
    writer.close()


def _layer(name: str) -> int:
    """-1 for what belongs to no layer."""
    found = _BLOCK.match(name)
    return int(found[1]) if found else -1


def main(
    source: Annotated[str, typer.Argument(help="A GGUF file, or smollm2.")],
    layers: Annotated[int, typer.Argument(min=1, help="How many to keep.")],
    output: Annotated[Path, typer.Argument(help="The .gguf to write.")],
) -> None:
    """Write a GGUF file with the first layers of another."""
    write_first_layers(smollm2_file() if source == BUILT_IN else Path(source), layers, output)


if __name__ == "__main__":
    typer.run(main)
