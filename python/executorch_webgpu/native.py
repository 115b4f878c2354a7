"""Binding of the C interface of ``libexecutorch_backend_webgpu`` (include/etwebgpu/c_api.h).

Loading the library registers the delegate's backend with the ExecuTorch runtime of this process, so
it is loaded once and never unloaded. Nothing here imports torch.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .errors import DeviceLostError, WebGPUError
from .providers import FunctionTable, Provider, find_providers

LIBRARY_ENV = "ETWEBGPU_LIBRARY"

_LIBRARY_NAMES = {
    "darwin": "libexecutorch_backend_webgpu.dylib",
    "win32": "executorch_backend_webgpu.dll",
}
_RUNTIME_NAMES = {"darwin": "libexecutorch.dylib", "win32": "executorch.dll"}

_TAKE_BYTES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_TAKE_TOKEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "etwg_register_provider": (
        ctypes.c_int,
        [
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.c_size_t,
        ],
    ),
    "etwg_register_provider_library": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_char_p]),
    "etwg_set_option": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_char_p]),
    "etwg_set_thread_option": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_char_p]),
    "etwg_last_error": (ctypes.c_char_p, []),
    "etwg_clear_error": (None, []),
    "etwg_devices_json": (ctypes.c_char_p, []),
    "etwg_inspect_json": (
        ctypes.c_char_p,
        [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p],
    ),
    "etwg_latest_delegates": (
        ctypes.c_size_t,
        [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t],
    ),
    "etwg_model_profile_json": (ctypes.c_char_p, [ctypes.c_void_p]),
    "etwg_model_free": (None, [ctypes.c_void_p]),
    "etwg_model_generate": (
        ctypes.c_int,
        [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_size_t,
            _TAKE_TOKEN,
            ctypes.c_void_p,
        ],
    ),
}

# Benchmarks load older libraries too, which do not have these.
_COMPILATION_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "etwg_compile": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]),
    "etwg_compilation_json": (ctypes.c_char_p, [ctypes.c_void_p]),
    "etwg_compilation_uniforms": (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)],
    ),
    "etwg_compilation_constant": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_size_t, _TAKE_BYTES, ctypes.c_void_p],
    ),
    "etwg_compilation_free": (None, [ctypes.c_void_p]),
}


def library_path() -> Path:
    """Where the native library is expected: ``$ETWEBGPU_LIBRARY``, else beside this package."""
    override = os.environ.get(LIBRARY_ENV)
    if override:
        return Path(override)
    name = _LIBRARY_NAMES.get(sys.platform, "libexecutorch_backend_webgpu.so")
    # An editable installation has two folders: the sources and what was built.
    candidates = [Path(folder) / "lib" / name for folder in sys.modules[__package__].__path__]
    return next((path for path in candidates if path.is_file()), candidates[0])


class Library:
    """The loaded native library. Methods raise WebGPUError with the library's own sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._providers: list[Provider] = []
        try:
            self._c = ctypes.CDLL(str(path))
            self._declare(_SIGNATURES)
        except (OSError, AttributeError) as error:
            raise WebGPUError(f"cannot load the WebGPU backend {path}: {error}") from error

    def _declare(self, signatures: Mapping[str, tuple[Any, list[Any]]]) -> None:
        for name, (result, arguments) in signatures.items():
            function = getattr(self._c, name)
            function.restype, function.argtypes = result, arguments

    def register(self, provider: Provider) -> None:
        """Offer a WebGPU implementation; those offered first are tried first."""
        name = provider.name.encode()
        if isinstance(provider, FunctionTable):
            count = len(provider.addresses)
            symbols = (ctypes.c_char_p * count)(*(s.encode() for s in provider.addresses))
            addresses = (ctypes.c_void_p * count)(*provider.addresses.values())
            self._check(self._c.etwg_register_provider(name, symbols, addresses, count))
        else:
            path = os.fsencode(provider.path)
            self._check(self._c.etwg_register_provider_library(name, path))
        self._providers.append(provider)

    def set_option(self, key: str, value: str) -> None:
        """Set an option for models loaded afterwards; an empty value resets it."""
        self._check(self._c.etwg_set_option(key.encode(), os.fsencode(value)))

    @contextmanager
    def thread_option(self, key: str, value: str) -> Iterator[None]:
        """Within the block the option has this value for what this thread loads."""
        self._check(self._c.etwg_set_thread_option(key.encode(), os.fsencode(value)))
        try:
            yield
        finally:
            self._c.etwg_set_thread_option(key.encode(), None)

    def register_operator(self, definition: str) -> None:
        """Define an operator, from JSON (see c_api.h)."""
        # Not among the signatures: benchmarks load older libraries too, which do not have it.
        define = self._c.etwg_register_operator
        define.restype, define.argtypes = ctypes.c_int, [ctypes.c_char_p]
        self._check(define(definition.encode()))

    def last_error(self) -> str:
        """The sentence of this thread's latest failure, or "" if there was none."""
        text: bytes | None = self._c.etwg_last_error()
        return (text or b"").decode("utf-8", "replace")

    def error(self, sentence: str) -> WebGPUError:
        """The exception for this thread's latest failure."""
        # Not among the signatures: benchmarks load older libraries too, which do not have it.
        lost = getattr(self._c, "etwg_device_lost", None)
        return (DeviceLostError if lost is not None and lost() else WebGPUError)(sentence)

    def clear_error(self) -> None:
        """Forget this thread's latest failure."""
        self._c.etwg_clear_error()

    def take_notices(self) -> list[str]:
        """What is worth knowing of this thread's loads since the last call, in sentences."""
        # Not among the signatures: benchmarks load older libraries too, which do not have it.
        take = getattr(self._c, "etwg_take_notices", None)
        if take is None:
            return []
        take.restype, take.argtypes = ctypes.c_char_p, []
        text: bytes | None = take()
        return (text or b"").decode("utf-8", "replace").splitlines()

    def devices(self) -> dict[str, Any]:
        """Providers, their adapters, and the one that would be used (see c_api.h)."""
        return self._json(self._c.etwg_devices_json())

    def inspect(
        self, path: Path, data_files: Sequence[Path], settings: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Graph, weights, memory plan and dispatches of every delegate of a .pte (see c_api.h)."""
        data = os.fsencode(path_list(data_files))
        text = json.dumps(settings).encode() if settings else None
        return self._json(self._c.etwg_inspect_json(os.fsencode(path), data, text))

    def compile(
        self, path: Path, data_files: Sequence[Path], settings: Mapping[str, Any]
    ) -> Compilation:
        """A program planned for executors without this library (see c_api.h)."""
        self._declare(_COMPILATION_SIGNATURES)
        data = os.fsencode(path_list(data_files))
        text = json.dumps(settings).encode()
        handle = self._c.etwg_compile(os.fsencode(path), data, text)
        if handle is None:
            raise self.error(self.last_error() or "the WebGPU backend compiled nothing")
        return Compilation(self, handle)

    def compilation_head(self, handle: int) -> dict[str, Any]:
        """Of an ``etwg_compilation``: all but where constants lie."""
        return self._json(self._c.etwg_compilation_json(handle))

    def compilation_uniforms(self, handle: int) -> bytes:
        """Of an ``etwg_compilation``: the parameters of its plans."""
        size = ctypes.c_size_t()
        at = self._c.etwg_compilation_uniforms(handle, ctypes.byref(size))
        return ctypes.string_at(at, size.value) if size.value else b""

    def read_constant(self, handle: int, number: int, take: Callable[[bytes], None]) -> None:
        """Pass the packed bytes of an ``etwg_compilation``'s constant to `take`, in pieces."""
        raised: list[BaseException] = []

        def call(_: object, data: int, size: int) -> int:
            try:  # a KeyboardInterrupt may come here, and must not be lost in C
                take(ctypes.string_at(data, size))
            except BaseException as exception:
                raised.append(exception)
            return len(raised)

        failed = self._c.etwg_compilation_constant(handle, number, _TAKE_BYTES(call), None)
        if raised:
            raise raised[0]
        self._check(failed)

    def free_compilation(self, handle: int) -> None:
        """Give up an ``etwg_compilation``."""
        self._c.etwg_compilation_free(handle)

    def latest_delegates(self, most: int) -> list[Delegate]:
        """Up to `most` delegates that ExecuTorch loaded last on this thread and that still live, in
        the order of loading."""
        handles = (ctypes.c_void_p * most)()
        count = self._c.etwg_latest_delegates(handles, most)
        return [Delegate(self, handle) for handle in handles[:count] if handle]

    def profile(self, handle: int) -> dict[str, Any]:
        """The plan of an ``etwg_model``'s last execute, and where its time went (see c_api.h)."""
        return self._json(self._c.etwg_model_profile_json(handle))

    def generate(
        self, handle: int, token: int, position: int, count: int, take: Callable[[int], bool]
    ) -> None:
        """Greedy decoding of an ``etwg_model`` (see c_api.h); `take` says whether to go on."""
        raised: list[BaseException] = []

        def call(_: object, chosen: int) -> int:
            try:  # a KeyboardInterrupt may come here, and must not be lost in C
                return int(not take(chosen))
            except BaseException as exception:
                raised.append(exception)
                return 1

        failed = self._c.etwg_model_generate(
            handle, token, position, count, _TAKE_TOKEN(call), None
        )
        if raised:
            raise raised[0]
        self._check(failed)

    def free(self, handle: int) -> None:
        """Give up an ``etwg_model``."""
        self._c.etwg_model_free(handle)

    def _check(self, code: int) -> None:
        if code != 0:
            raise self.error(self.last_error() or f"the WebGPU backend failed with code {code}")

    def _json(self, text: bytes | None) -> dict[str, Any]:
        if text is None:
            raise self.error(self.last_error() or "the WebGPU backend gave no answer")
        result: dict[str, Any] = json.loads(text)
        return result


class Delegate:
    """A loaded delegate beside its program, for what ExecuTorch's interface does not offer."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self._handle = handle

    def __del__(self) -> None:
        self._library.free(self._handle)

    def generate(
        self, token: int, position: int, count: int, stop_tokens: frozenset[int] = frozenset()
    ) -> list[int]:
        """Feed `token` at `position` and decode greedily: up to `count` tokens, the last of which
        may be one of `stop_tokens`. When the device is lost, those before, if there are any.

        Raises WebGPUError, also when the context is passed.
        """
        tokens: list[int] = []

        def take(chosen: int) -> bool:
            tokens.append(chosen)
            return chosen not in stop_tokens

        try:
            self._library.generate(self._handle, token, position, count, take)
        except DeviceLostError:
            if not tokens:
                raise
        return tokens

    def profile(self) -> dict[str, Any]:
        """Dispatches of the last execute, with times if the option profiling was on at load.

        Raises WebGPUError before the first execute.
        """
        return self._library.profile(self._handle)


class Compilation:
    """A program that was planned ahead of time."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self._handle = handle

    def __del__(self) -> None:
        self._library.free_compilation(self._handle)

    def head(self) -> dict[str, Any]:
        """Plans, kernels and methods: the file's head, but for where constants lie."""
        return self._library.compilation_head(self._handle)

    def uniforms(self) -> bytes:
        """Parameters of all plans."""
        return self._library.compilation_uniforms(self._handle)

    def read_constant(self, number: int, take: Callable[[bytes], None]) -> None:
        """Pass the packed bytes of a constant to `take`, in pieces of a few MB.

        Args:
            number: of each delegate in the head's order the constants, then the states.
            take: called with each piece, in order; what it raises ends the reading.

        Raises WebGPUError for a weight that is missing or too short.
        """
        self._library.read_constant(self._handle, number, take)


def path_list(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Paths as the option data_files takes them, whatever characters they have; "" for none."""
    texts = [os.fspath(path) for path in paths]
    return json.dumps(texts, ensure_ascii=False) if texts else ""


@cache
def library() -> Library:
    """The native library, loaded and given its providers on first use.

    Raises WebGPUError when the library or ExecuTorch's runtime is missing or does not load.
    """
    path = library_path()
    if not path.is_file():
        hint = f" (from {LIBRARY_ENV})" if os.environ.get(LIBRARY_ENV) else ""
        raise WebGPUError(f"the WebGPU backend library is missing: {path}{hint}")
    _ensure_runtime_dir()
    _load_executorch_runtime()
    loaded = Library(path)
    for provider in find_providers():
        loaded.register(provider)
    return loaded


def _load_executorch_runtime() -> None:
    """Load the wheel's libexecutorch, whose backend registry is to know the backend.

    By its file, not by importing executorch.runtime: that takes seconds, and the Python extension
    later resolves to this very library.
    """
    spec = importlib.util.find_spec("executorch")
    folders = list(spec.submodule_search_locations or []) if spec else []
    name = _RUNTIME_NAMES.get(sys.platform, "libexecutorch.so")
    candidates = [Path(folder) / "lib" / name for folder in folders]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        raise WebGPUError(f"the executorch package with {name} is not installed (1.5 or newer)")
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        raise WebGPUError(f"cannot load ExecuTorch's runtime {path}: {error}") from error


def _ensure_runtime_dir() -> None:
    """Software Vulkan drivers print a warning when XDG_RUNTIME_DIR is not set."""
    if sys.platform == "linux" and not os.environ.get("XDG_RUNTIME_DIR"):
        os.environ["XDG_RUNTIME_DIR"] = tempfile.gettempdir()
