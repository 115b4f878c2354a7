"""Reading a Hugging Face folder: config.json, safetensors in one or several files, tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import WebGPUError
from .fields import Fields
from .parameters import Names, hugging_face
from .weights import Stored

_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_INDEX = "model.safetensors.index.json"

# Models that see pictures have the decoder's fields inside.
_INSIDE = "text_config"

# What tensors begin with, and the output layer's name: by itself, and inside larger models.
_NAMES = (
    ("model.", "lm_head"),
    ("language_model.model.", "language_model.lm_head"),
    ("model.language_model.", "lm_head"),
)


class ModelFolder:
    """An open folder. Raises WebGPUError where something of it is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        self._config = read_json(path / "config.json")
        self._files = {name: self._open(name) for name in self._file_names()}
        self._file_of = {
            tensor: name
            for name, file in self._files.items()
            for tensor in file.keys()  # noqa: SIM118
        }
        for tensor, name in self._index().items():
            if self._file_of.get(tensor) != name:
                raise WebGPUError(
                    f"{path / _INDEX} says that {tensor} is in {name}, which has it not"
                )

    def fields(self) -> Fields:
        """The decoder's configuration."""
        where = str(self._path / "config.json")
        if self._config.get("quantization_config"):
            raise WebGPUError(
                f"{where}: the weights are quantized already (quantization_config), in a form that "
                "cannot be exported; take the model's float weights or a GGUF file"
            )
        inner = self._config.get(_INSIDE)
        if isinstance(inner, dict):
            return Fields(f"{where}, {_INSIDE}", {**self._config, _INSIDE: None, **inner})
        return Fields(where, self._config)

    @property
    def names(self) -> Names:
        """How the decoder's tensors are called."""
        found = (names for names in _NAMES if f"{names[0]}embed_tokens.weight" in self._file_of)
        return hugging_face(*next(found, _NAMES[0]))

    def eos(self) -> list[int]:
        """The tokens that end an answer, of the configuration and of the one for generation."""
        generation = self._path / "generation_config.json"
        configs = [read_json(generation)] if generation.is_file() else []
        found: list[int] = []
        for config in (*configs, self._config):
            value = config.get("eos_token_id")
            tokens = value if isinstance(value, list) else [value]
            found += [token for token in tokens if isinstance(token, int)]
        return list(dict.fromkeys(found))

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """A tensor's sizes; None where there is none of that name."""
        file = self._files.get(self._file_of.get(name, ""))
        return None if file is None else tuple(file.get_slice(name).get_shape())

    def kind(self, name: str) -> str:
        """The type of a tensor that is there."""
        return str(self._files[self._file_of[name]].get_slice(name).get_dtype())

    def read(self, name: str) -> Stored:
        """A tensor that is there."""
        # From a mapping of its own, whose pages go with the tensor.
        tensor = self._open(self._file_of[name]).get_tensor(name)
        if tensor.dtype not in _KINDS:
            raise WebGPUError(
                f"{self.where}: the tensor {name} is of {tensor.dtype}, not of floats"
            )
        return Stored(_KINDS[tensor.dtype], tensor)

    def _index(self) -> dict[str, str]:
        """The file of each tensor, where an index says it."""
        path = self._path / _INDEX
        if not path.is_file():
            return {}
        found = read_json(path).get("weight_map")
        if not isinstance(found, dict) or not found:
            raise WebGPUError(f"{path} has no weight_map")
        for name in found.values():
            if not isinstance(name, str) or Path(name).name != name or "\\" in name:
                raise WebGPUError(f"{path} names {name!r}, which is not a file of this folder")
        return found

    def _file_names(self) -> list[str]:
        names = sorted(set(self._index().values()))
        if not names:
            names = [n for n in ("model.safetensors",) if (self._path / n).is_file()]
        if not names:
            raise WebGPUError(
                f"{self._path} has no weights: neither model.safetensors nor {_INDEX}"
            )
        for name in names:
            if not (self._path / name).is_file():
                raise WebGPUError(f"{self._path / name} is missing, which {_INDEX} names")
        return names

    def _open(self, name: str) -> Any:
        try:
            return safe_open(self._path / name, framework="pt")
        except (SafetensorError, OSError) as error:
            raise WebGPUError(f"{self._path / name} is damaged: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """An object from a file. Raises WebGPUError where there is none."""
    if not path.is_file():
        raise WebGPUError(f"{path} is missing")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WebGPUError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WebGPUError(f"{path} is not an object of JSON")
    return value
