"""Compiling a program ahead of time: plans, kernels and packed weights in one file, which a page
replays without the planner. docs/compiled.md describes the file."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from .errors import WebGPUError
from .files import DataPath, StrPath, check_file, check_program, data_file_list, write_atomically
from .native import Compilation, library

MAGIC = b"ETWG"
VERSION = 1
# Magic, version, bytes of the file, of the JSON and of the uniforms, CRC-32 of both of these.
HEADER = struct.Struct("<4sIQQQI12x")
ALIGNMENT = 256
_LARGEST_OFFSET = 2**53 - 1  # numbers that JavaScript has exactly

# Hears of a stage, how much of it is done, and of how much: 0 where that is not known.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Compiled:
    """What was written.

    Attributes:
        methods: names of those that run.
        plans: number of plans.
        head_bytes: what a page reads before any weight.
        file_bytes: of all of it.
    """

    methods: tuple[str, ...]
    plans: int
    head_bytes: int
    file_bytes: int


def plan_program(
    path: StrPath,
    sizes: Sequence[str] = (),
    limits: str = "default",
    methods: Sequence[str] = (),
    data_path: DataPath = None,
) -> Compilation:
    """Plan a program for executors without the planner.

    Args:
        path: the .pte file.
        sizes: of the inputs of calls to come, each a text as `parse_sizes` takes it. Methods whose
            inputs have fixed sizes need none.
        limits: "default" for WebGPU's least, which every device has, "adapter" for this machine's
            adapter, or the path of a JSON file with capabilities (src/base/capabilities_json.h).
        methods: those to compile; all unless it is given.
        data_path: the program's .ptd files, or their folder, if its weights lie outside.

    Raises:
        WebGPUError: a file is missing or wrong, this runtime cannot run the program, or the program
            does not take the sizes.
    """
    program = Path(path)
    check_program(program)
    settings = {
        "capabilities": _capabilities(limits),
        "methods": list(methods),
        "sizes": [parse_sizes(text) for text in sizes],
    }
    return library().compile(program, data_file_list(data_path), settings)


def write_compiled(
    compilation: Compilation,
    output: StrPath,
    progress: Progress = lambda stage, done, total: None,
) -> Compiled:
    """Write what was planned, with its weights, into a file that appears when it is whole.

    Raises WebGPUError for a weight that is missing or too short.
    """
    target = Path(output)
    if target.is_dir():
        raise WebGPUError(f"{target} is a folder, not a file to write")
    with write_atomically(target) as file:
        return _Writer(compilation, file, progress).write()


def parse_sizes(text: str) -> dict[str, Any]:
    """``[METHOD:]SIZES[,SIZES...]`` as the native library takes it: sizes of a method's inputs in
    order, extents with x between them. Inputs that are left out, or written as -, have the sizes
    that the program has recorded. Raises WebGPUError for anything else."""
    method, _, inputs = text.rpartition(":")
    return {"method": method, "inputs": [_extents(text, one) for one in inputs.split(",")]}


def _extents(text: str, sizes: str) -> list[int] | None:
    if sizes.strip() == "-":
        return None
    if not re.fullmatch(r"\s*\d{1,10}(x\d{1,10})*\s*", sizes, re.ASCII):
        raise WebGPUError(
            f"sizes {text!r} are not like 1x16, or 1x16,1 for two inputs, or forward:1x16 for a "
            "method"
        )
    return [int(extent) for extent in sizes.split("x")]


def _capabilities(limits: str) -> Any:
    if limits == "default":
        return {"version": 1}
    if limits == "adapter":
        return limits
    path = Path(limits)
    check_file(path)
    try:
        capabilities = json.loads(path.read_bytes())
    except ValueError as error:
        raise WebGPUError(f"{path} is not JSON: {error}") from error
    if not isinstance(capabilities, dict):
        raise WebGPUError(f"{path} does not hold capabilities: it must be a JSON object")
    return capabilities


class _Writer:
    """Writes constants first, behind room for the head, which says where they are."""

    def __init__(self, compilation: Compilation, file: BinaryIO, progress: Progress) -> None:
        self._compilation = compilation
        self._file = file
        self._progress = progress
        self._head = compilation.head()
        self._uniforms = compilation.uniforms()
        self._places: dict[tuple[int, bytes], int] = {}  # by size and digest
        self._end = 0

    def write(self) -> Compiled:
        for form in self._constants():
            form["offset"] = _LARGEST_OFFSET
        json_bytes = len(self._json())
        head_bytes = HEADER.size + json_bytes + len(self._uniforms)
        self._end = _aligned(head_bytes)
        total, done = sum(form["bytes"] for form in self._constants()), 0
        for number, form in enumerate(self._constants()):
            self._progress("Packing weights", done, total)
            self._write_constant(number, form)
            done += form["bytes"]
        self._file.truncate(self._end)
        self._write_head(json_bytes)
        delegates = self._head["delegates"]
        return Compiled(
            methods=tuple(dict.fromkeys(delegate["method"] for delegate in delegates)),
            plans=sum(len(delegate["plans"]) for delegate in delegates),
            head_bytes=head_bytes,
            file_bytes=self._end,
        )

    def _constants(self) -> Iterator[dict[str, Any]]:
        for delegate in self._head["delegates"]:
            yield from delegate["model"]["constants"]
            yield from delegate["model"]["states"]

    def _write_constant(self, number: int, form: dict[str, Any]) -> None:
        digest = sha256()
        is_zero = True
        self._file.seek(self._end)

        def take(piece: bytes) -> None:
            nonlocal is_zero
            is_zero = is_zero and piece.count(0) == len(piece)
            digest.update(piece)
            self._file.write(piece)

        self._compilation.read_constant(number, take)
        size: int = form["bytes"]
        form.pop("parts")  # where it was in the program
        if is_zero:  # buffers are made so
            form["offset"] = None
            return
        place = self._places.setdefault((size, digest.digest()), self._end)
        form["offset"] = place
        if place == self._end:
            self._end = _aligned(self._end + size)

    def _write_head(self, json_bytes: int) -> None:
        head = self._json().ljust(json_bytes) + self._uniforms
        header = HEADER.pack(
            MAGIC, VERSION, self._end, json_bytes, len(self._uniforms), zlib.crc32(head)
        )
        self._file.seek(0)
        self._file.write(header + head)

    def _json(self) -> bytes:
        return json.dumps(self._head, separators=(",", ":")).encode()


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
