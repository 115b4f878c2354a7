"""What a page calls of the core (src/wasm/exports.h), in either build: as a module, or natively."""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import wasmtime

from .paths import REPOSITORY

MODULE = REPOSITORY / "build/wasm/etwebgpu.wasm"
LIBRARY = REPOSITORY / "build/tests/tests/cpp/libcore_exports.so"

# What each returns and takes: "p" is an address, "u" a u32, "d" a double, "b" a bool, "-" nothing.
_SIGNATURES = {
    "etwg_alloc": "pu",
    "etwg_free": "-p",
    "etwg_result": "p",
    "etwg_result_size": "u",
    "etwg_head_size": "dupud",
    "etwg_program": "bpud",
    "etwg_data_file": "bpud",
    "etwg_delegate": "ppud",
    "etwg_delegate_json": "-p",
    "etwg_load": "pppupu",
    "etwg_discard": "-p",
    "etwg_shared_states": "bpupu",
    "etwg_unload": "-p",
    "etwg_model_json": "-p",
    "etwg_bound_plan_json": "-p",
    "etwg_match": "bppu",
    "etwg_prepare": "uppub",
    "etwg_plan_json": "-",
    "etwg_plan_uniforms": "-",
    "etwg_kernel_count": "up",
    "etwg_kernel": "bpuu",
    "etwg_token_kernel": "bbuuuu",
    "etwg_scalars": "pp",
    "etwg_dirty": "pp",
    "etwg_clear_dirty": "-p",
    "etwg_windows": "bpbuu",
    "etwg_pack": "bpbuuupupu",
}


def _built(path: Path, command: str) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {command} makes it")
    return str(path)


class Build(Protocol):
    """The exports, and the memory that their addresses are of."""

    address: str  # its format in a struct
    exports: dict[str, Any]

    def write(self, at: int, data: bytes) -> None: ...
    def read(self, at: int, size: int) -> bytes: ...


class NativeBuild:
    address = "Q"

    def __init__(self, path: Path = LIBRARY) -> None:
        library = ctypes.CDLL(_built(path, "cmake --build build/tests"))
        types = {
            "p": ctypes.c_void_p,
            "u": ctypes.c_uint32,
            "d": ctypes.c_double,
            "b": ctypes.c_bool,
            "-": None,
        }
        self.exports = {name: getattr(library, name) for name in _SIGNATURES}
        for name, letters in _SIGNATURES.items():
            self.exports[name].restype = types[letters[0]]
            self.exports[name].argtypes = [types[letter] for letter in letters[1:]]

    def write(self, at: int, data: bytes) -> None:
        ctypes.memmove(at, data, len(data))

    def read(self, at: int, size: int) -> bytes:
        return ctypes.string_at(at, size)


class WasmBuild:
    address = "I"

    def __init__(self, path: Path = MODULE) -> None:
        store = wasmtime.Store()
        module = wasmtime.Module.from_file(store.engine, _built(path, "scripts/build_wasm.sh"))
        exports = wasmtime.Instance(store, module, []).exports(store)

        def bound(function: Any, letters: str) -> Any:
            kinds = [float if letter == "d" else int for letter in letters]
            return lambda *arguments: function(
                store, *(kind(a) for kind, a in zip(kinds, arguments, strict=True))
            )

        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._store, self._memory = store, memory
        self.exports = {name: bound(exports[name], s[1:]) for name, s in _SIGNATURES.items()}
        bound(exports["_initialize"], "")()

    def write(self, at: int, data: bytes) -> None:
        self._memory.write(self._store, data, at)

    def read(self, at: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, at, at + size))


class CoreError(RuntimeError):
    """A call failed; the text is the core's own sentence."""


@dataclass(frozen=True)
class LiveInput:
    """What plans depend on: of a tensor its sizes and, where the model wants them, elements."""

    sizes: Sequence[int] = ()
    scalar: int = 0
    elements: Sequence[int] = ()


@dataclass(frozen=True)
class Window:
    offset: int
    size: int
    part: int
    pieces: int
    stride: int
    ranges: list[list[int]]  # offset and size in each of the part's sources


class Core:
    """Texts and bytes come as they are: what is compared is what a page would get."""

    def __init__(self, build: Build) -> None:
        self._build = build

    def call(self, name: str, *arguments: float) -> Any:
        return self._build.exports[name](*arguments)

    def read(self, at: int, size: int) -> bytes:
        return self._build.read(at, size)

    @contextmanager
    def lent(self, data: bytes) -> Iterator[int]:
        """Where a copy is, for the time being."""
        at = self.call("etwg_alloc", max(len(data), 1))
        self._build.write(at, data)
        try:
            yield at
        finally:
            self.call("etwg_free", at)

    def packed(self, layout: str, *values: int) -> bytes:
        """A struct with natural alignment; "A" in its layout is an address."""
        padded = layout.replace("A", self._build.address)
        # The end is padded to the alignment of its widest member.
        return struct.pack(f"@{padded}0{self._build.address}", *values)

    def result(self) -> bytes:
        return self.read(self.call("etwg_result"), self.call("etwg_result_size"))

    def checked(self, worked: Any) -> Any:
        if not worked:
            raise CoreError(self.result().decode())
        return worked

    def text(self, name: str, *arguments: float) -> bytes:
        """The result of a call that cannot fail."""
        self.call(name, *arguments)
        return self.result()

    def head_size(self, kind: int, head: bytes, size: int) -> int:
        with self.lent(head) as at:
            return int(self.checked(self.call("etwg_head_size", kind, at, len(head), size)))

    def program(self, head: bytes, size: int) -> bytes:
        return self._file("etwg_program", head, size)

    def data_file(self, head: bytes, size: int) -> bytes:
        return self._file("etwg_data_file", head, size)

    def _file(self, reader: str, head: bytes, size: int) -> bytes:
        with self.lent(head) as at:
            self.checked(self.call(reader, at, len(head), size))
        return self.result()

    def token_kernel(self, sampled: bool, first: int, count: int, dialect: int) -> bytes:
        self.checked(self.call("etwg_token_kernel", sampled, first, count, 256, dialect))
        return self.result()

    def delegate(self, blob: bytes) -> Delegate:
        with self.lent(blob) as at:
            handle = self.checked(self.call("etwg_delegate", at, len(blob), len(blob)))
        return Delegate(self, handle)

    def shared_states(self, delegates: Sequence[Delegate], methods: Sequence[str]) -> bytes:
        """Which states of a program's delegates, each of the method in its place, are one."""
        table = b"".join(self.packed("A", delegate.handle) for delegate in delegates)
        text = json.dumps([{"method": method, "states": ""} for method in methods]).encode()
        with self.lent(table) as at, self.lent(text) as names:
            count = len(delegates)
            self.checked(self.call("etwg_shared_states", at, count, names, len(text)))
        return self.result()


class Delegate:
    def __init__(self, core: Core, handle: int) -> None:
        self._core, self.handle = core, handle
        self.json = core.text("etwg_delegate_json", handle)

    def discard(self) -> None:
        self._core.call("etwg_discard", self.handle)

    def load(self, device: Mapping[str, Any], constants: Mapping[int, bytes]) -> CoreModel:
        """The model; the delegate is used up.

        Args:
            device: capabilities and options.
            constants: those that are read, by number.
        """
        core, table = self._core, b""
        settings = json.dumps(device).encode()
        with ExitStack() as lent:
            for index, data in constants.items():
                table += core.packed("IAI", index, lent.enter_context(core.lent(data)), len(data))
            at, entries = (lent.enter_context(core.lent(data)) for data in (settings, table))
            handle = core.call("etwg_load", self.handle, at, len(settings), entries, len(constants))
        return CoreModel(core, core.checked(handle))


class CoreModel:
    def __init__(self, core: Core, handle: int) -> None:
        self._core, self._handle = core, handle

    def close(self) -> None:
        self._core.call("etwg_unload", self._handle)

    def json(self) -> bytes:
        return self._core.text("etwg_model_json", self._handle)

    def bound_plan(self) -> bytes:
        return self._core.text("etwg_bound_plan_json", self._handle)

    def match(self, call: Mapping[str, Any]) -> bytes:
        text = json.dumps(call).encode()
        with self._core.lent(text) as at:
            self._core.checked(self._core.call("etwg_match", self._handle, at, len(text)))
        return self._core.result()

    def prepare(self, inputs: Sequence[LiveInput], wide_integers: bool) -> int:
        """The number of the plan."""
        core, table = self._core, b""
        with ExitStack() as lent:
            for given in inputs:
                elements = struct.pack(f"{len(given.elements)}i", *given.elements)
                at = lent.enter_context(core.lent(elements))
                sizes = [*given.sizes, *[0] * (8 - len(given.sizes))]
                table += core.packed(
                    "I8iiAI", len(given.sizes), *sizes, given.scalar, at, len(given.elements)
                )
            at = lent.enter_context(core.lent(table))
            number = core.call("etwg_prepare", self._handle, at, len(inputs), wide_integers)
        return int(core.checked(number))

    def plan(self) -> bytes:
        return self._core.text("etwg_plan_json")

    def uniforms(self) -> bytes:
        return self._core.text("etwg_plan_uniforms")

    def kernels(self, dialect: int) -> list[bytes]:
        return [
            self._core.text("etwg_kernel", self._handle, i, dialect)
            for i in range(self._core.call("etwg_kernel_count", self._handle))
        ]

    def take_scalars(self, count: int) -> tuple[bytes, bytes]:
        """Values, and which of them have changed since they were last taken."""
        core = self._core
        values = core.read(core.call("etwg_scalars", self._handle), 4 * count) if count else b""
        dirty = core.read(core.call("etwg_dirty", self._handle), count) if count else b""
        core.call("etwg_clear_dirty", self._handle)
        return values, dirty

    def windows(self, state: bool, index: int, most: int) -> list[Window]:
        self._core.checked(self._core.call("etwg_windows", self._handle, state, index, most))
        return [Window(*window) for window in json.loads(self._core.result())]

    def pack(
        self, state: bool, index: int, most: int, window: int, sources: bytes, size: int
    ) -> bytes:
        """The bytes of a window, which has this size; `sources` are those of its ranges."""
        core = self._core
        with core.lent(sources) as at, core.lent(bytes(size)) as out:
            where = (state, index, most, window)
            core.checked(core.call("etwg_pack", self._handle, *where, at, len(sources), out, size))
            return core.read(out, size)
