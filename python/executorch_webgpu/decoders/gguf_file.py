"""Reading a GGUF file: its metadata, checked, and its tensors, one at a time.

The package `gguf` has the constants and the formats of blocks. Its reader trusts the file: lengths
in it decide how much is read, so that a few wrong bytes take all memory. This one does not.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from ..errors import WebGPUError
from .fields import Fields, short
from .weights import Stored

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_NUMBERS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?")))
_NUMBERS |= {10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# config.json's names of metadata, after the architecture's name.
_FIELDS = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attention.scale": "attention_multiplier",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
    "rope.freq_base": "rope_theta",
    "rope.freq_base_swa": "rope_local_base_freq",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "expert_count": "num_experts",
}
_SCALING = {
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "factor",
    "rope.scaling.attn_factor": "attention_factor",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
_MODEL_TYPES = {"gemma3": "gemma3_text"}

# The models of Gemma whose queries are scaled by their width, which GGUF does not say: the 27B.
_SCALED_BY_WIDTH = {("gemma2", 46), ("gemma3", 62)}


@dataclass(frozen=True)
class _Info:
    file: Path
    kind: str
    sizes: tuple[int, ...]
    row_bytes: int
    offset: int

    @property
    def bytes(self) -> int:
        return self.row_bytes * (self.sizes[0] if len(self.sizes) == 2 else 1)


class GgufFile:
    """An open GGUF file, or all parts of one that is split.

    Raises WebGPUError where it is none, or cut off, or inconsistent.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        parts = _parts(path)
        self.metadata = parts[0].metadata
        self._tensors = {name: info for part in parts for name, info in part.tensors.items()}
        _check_whole(self.where, parts, len(self._tensors))

    def fields(self) -> Fields:
        """The metadata by config.json's names."""
        kind = self.metadata.get("general.architecture")
        if not isinstance(kind, str):
            raise WebGPUError(f"{self.where} has no field general.architecture")

        def translated(names: dict[str, str]) -> dict[str, Any]:
            found = {new: self.metadata.get(f"{kind}.{old}") for old, new in names.items()}
            return {name: value for name, value in found.items() if value is not None}

        values = {"model_type": _MODEL_TYPES.get(kind, kind), **translated(_FIELDS)}
        if values.get("num_experts") == 0:
            del values["num_experts"]
        values.setdefault("vocab_size", (self.sizes("token_embd.weight") or (None,))[0])
        if self.sizes("blk.0.attn_q.bias"):
            values["attention_bias"] = self.sizes("blk.0.attn_output.bias") is not None
        if self.sizes("blk.0.ffn_gate.bias"):
            values["mlp_bias"] = True
        self._add_head(kind, values)
        self._add_scaling(kind, values, translated(_SCALING))
        return Fields(self.where, values)

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """A tensor's sizes; None where there is none of that name."""
        info = self._tensors.get(name)
        return None if info is None else info.sizes

    def kind(self, name: str) -> str:
        """The type of a tensor that is there."""
        return self._tensors[name].kind

    def read(self, name: str) -> Stored:
        """A tensor that is there."""
        info = self._tensors[name]
        data = torch.from_numpy(np.fromfile(info.file, np.uint8, info.bytes, offset=info.offset))
        if info.kind in _FLOATS:
            return Stored(info.kind, data.view(_FLOATS[info.kind]).view(info.sizes))
        return Stored(info.kind, data.view(-1, info.row_bytes))

    def _add_head(self, kind: str, values: dict[str, Any]) -> None:
        """What config.json says of heads, and GGUF does not."""
        width, heads = values.get("hidden_size"), values.get("num_attention_heads")
        if not isinstance(width, int) or not isinstance(heads, int) or heads < 1:
            return
        head = values.setdefault("head_dim", width // heads)
        rotated = self.metadata.get(f"{kind}.rope.dimension_count")
        if isinstance(rotated, int) and isinstance(head, int) and head > 0 and rotated < head:
            values["partial_rotary_factor"] = rotated / head
        by_width = (kind, values.get("num_hidden_layers")) in _SCALED_BY_WIDTH
        values["query_pre_attn_scalar"] = width // heads if by_width else head

    def _add_scaling(self, kind: str, values: dict[str, Any], scaling: dict[str, Any]) -> None:
        """The rope's: factors that are tensors, or a kind and numbers."""
        factors = {
            name: self.read(f"{tensor}.weight").floats().tolist()
            for name, tensor in _FACTORS.items()
            if self.sizes(f"{tensor}.weight")
        }
        if "long_factor" in factors or "short_factor" in factors:
            scaling = {**scaling, "rope_type": "longrope", **factors}
        elif "factors" in factors:
            scaling = {"rope_type": "factors", **factors}
        if scaling.get("rope_type", "none") != "none":
            share = values.get("partial_rotary_factor")
            values["rope_scaling"] = {
                **scaling,
                **({"partial_rotary_factor": share} if share else {}),
            }


class _Part:
    """A file, which may be one of several: what it says, and where its tensors lie."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)
        with path.open("rb") as file:
            size = path.stat().st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        cursor = _Cursor(self.where, data)
        if cursor.take(4) != _MAGIC:
            raise WebGPUError(f"not a GGUF file: {path}")
        version = cursor.number("I")
        if version not in _VERSIONS:
            raise WebGPUError(f"{path} is of version {version} of GGUF, not of 2 or 3")
        tensors, entries = cursor.number("Q"), cursor.number("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(cursor.count(entries, 12)):
            name = cursor.text()
            self.metadata[name] = cursor.value(cursor.number("I"))
        infos = [_read_info(cursor) for _ in range(cursor.count(tensors, 24))]
        self.tensors = self._placed(infos, cursor, len(data))

    @property
    def split(self) -> tuple[Any, Any]:
        """Which part of how many it is, from 0 on."""
        return self.metadata.get("split.no", 0), self.metadata.get("split.count", 1) or 1

    def _placed(
        self, infos: list[tuple[str, str, tuple[int, ...], int]], cursor: _Cursor, end: int
    ) -> dict[str, _Info]:
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise WebGPUError(f"{self.where}: general.alignment is {short(alignment)}")
        begin = -(-cursor.at // alignment) * alignment
        placed = {}
        for name, kind, sizes, offset in infos:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
            if sizes[-1] % block:
                raise WebGPUError(
                    f"{self.where}: the tensor {short(name)} has rows of {sizes[-1]} elements, not "
                    f"of whole blocks of {block} ({kind})"
                )
            info = _Info(self.path, kind, sizes, sizes[-1] // block * size, begin + offset)
            if info.offset + info.bytes > end:
                raise WebGPUError(
                    f"{self.where} is cut off: the tensor {short(name)} ends at byte "
                    f"{info.offset + info.bytes} of {end}"
                )
            placed[name] = info
        return placed


_SPLIT_NAME = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")


def _parts(path: Path) -> list[_Part]:
    """All parts of the file that this one is a part of."""
    given = _Part(path)
    _, count = given.split
    if count == 1:
        return [given]
    named = _SPLIT_NAME.fullmatch(path.name)
    if named is None or int(named[2]) != count:
        raise WebGPUError(
            f"{path} is one of {short(count)} parts, but is not named as those are, such as "
            "model-00001-of-00003.gguf"
        )
    parts = []
    for i in range(int(count)):
        file = path.with_name(f"{named[1]}-{i + 1:05}-of-{named[2]}.gguf")
        if not file.is_file():
            raise WebGPUError(f"{file} is missing, one of the {count} parts of the model")
        part = given if file == path else _Part(file)
        if part.split != (i, count):
            raise WebGPUError(f"{file} is not part {i + 1} of {count}, but of another model")
        parts.append(part)
    return parts


def _check_whole(where: str, parts: list[_Part], tensors: int) -> None:
    """Parts of other models have other tensors, or the same ones."""
    found = sum(len(part.tensors) for part in parts)
    said = parts[0].metadata.get("split.tensors.count", found)
    if len(parts) > 1 and (found != said or found != tensors):
        raise WebGPUError(
            f"{where} and the files named like it are not the parts of one model: they have "
            f"{found} tensors, {tensors} of them different, of {short(said)}"
        )


_FACTORS = {
    "factors": "rope_freqs",
    "long_factor": "rope_factors_long",
    "short_factor": "rope_factors_short",
}


def _read_info(cursor: _Cursor) -> tuple[str, str, tuple[int, ...], int]:
    """Name, type, sizes [N, K] or [K], and the offset among the tensors' data."""
    name, rank = cursor.text(), cursor.number("I")
    if not 1 <= rank <= 4:
        raise WebGPUError(f"{cursor.where}: the tensor {short(name)} has {rank} dimensions")
    sizes = [cursor.number("Q") for _ in range(rank)]
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    code, offset = cursor.number("I"), cursor.number("Q")
    known = code in GGMLQuantizationType._value2member_map_
    if not known or len(sizes) > 2 or not all(0 < size < 1 << 40 for size in sizes):
        raise WebGPUError(
            f"{cursor.where}: the tensor {short(name)} of type {code} and sizes {sizes[::-1]} is "
            "none that a decoder has"
        )
    return name, GGMLQuantizationType(code).name, tuple(reversed(sizes)), offset


class _Cursor:
    """A place in the file's bytes, which never goes past their end."""

    def __init__(self, where: str, data: bytes | mmap.mmap) -> None:
        self.where, self._data, self.at = where, data, 0

    def take(self, count: int) -> bytes:
        self.count(count, 1)
        taken = self._data[self.at : self.at + count]
        self.at += count
        return bytes(taken)

    def count(self, count: int, least: int) -> int:
        """`count`, where the file has room for so many things of at least so many bytes."""
        if count * least > len(self._data) - self.at:
            raise WebGPUError(
                f"{self.where} is cut off or damaged: {count} entries at byte {self.at} of "
                f"{len(self._data)}"
            )
        return count

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind == _ARRAY:
            return self._array(self.number("I"))
        return self.number(self._code(kind))

    def _array(self, kind: int) -> list[Any]:
        length = self.number("Q")
        if kind == _TEXT:
            return [self.text() for _ in range(self.count(length, 8))]
        code = self._code(kind)
        raw = self.take(self.count(length, struct.calcsize(code)) * struct.calcsize(code))
        return list(struct.unpack(f"<{length}{code}", raw))

    def _code(self, kind: int) -> str:
        if kind not in _NUMBERS:
            raise WebGPUError(
                f"{self.where}: a field at byte {self.at} is of the unknown type {kind}"
            )
        return _NUMBERS[kind]
