"""Delegate blobs run through the library's C interface (include/etwebgpu/c_api.h) alone.

Over numpy arrays, and without torch: capi.py has the same over torch's tensors. Provider and
adapter come from the environment (ETWEBGPU_PROVIDER, ETWEBGPU_ADAPTER, VK_ICD_FILENAMES), so one
set of tests serves every software adapter and every GPU.
"""

from __future__ import annotations

import ctypes
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.native import library

from .expected import Array

SCALAR = 100
MAX_RANK = 8

DTYPES = [
    np.dtype(name)
    for name in ("bool", "uint8", "int8", "int32", "float16", "float32", "float64", "int64")
]


class _CTensor(ctypes.Structure):
    _fields_ = (
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("sizes", ctypes.c_int64 * MAX_RANK),
        ("data", ctypes.c_void_p),
        ("capacity", ctypes.c_size_t),
    )


class _CNamedData(ctypes.Structure):
    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
    )


class ModelError(RuntimeError):
    """A load or an execute failed; the text is the library's own sentence."""


@dataclass
class Cost:
    """What the tests spent in the library so far."""

    loads: int = 0
    load_seconds: float = 0.0
    runs: int = 0
    run_seconds: float = 0.0


COST = Cost()


@cache
def _functions() -> ctypes.CDLL:
    native = library()  # registers the providers and applies the environment
    c = ctypes.CDLL(str(native.path))
    c.etwg_model_load.restype = ctypes.c_void_p
    c.etwg_model_load.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.POINTER(_CNamedData),
        ctypes.c_size_t,
    ]
    c.etwg_model_execute.restype = ctypes.c_int
    c.etwg_model_execute.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(_CTensor),
        ctypes.c_size_t,
        ctypes.POINTER(_CTensor),
        ctypes.c_size_t,
    ]
    for name in ("etwg_model_input_count", "etwg_model_output_count"):
        getattr(c, name).restype = ctypes.c_size_t
        getattr(c, name).argtypes = [ctypes.c_void_p]
    c.etwg_model_profile_json.restype = ctypes.c_char_p
    c.etwg_model_profile_json.argtypes = [ctypes.c_void_p]
    c.etwg_model_free.restype = None
    c.etwg_model_free.argtypes = [ctypes.c_void_p]
    c.etwg_last_error.restype = ctypes.c_char_p
    return c


def last_error() -> str:
    text: bytes | None = _functions().etwg_last_error()
    return (text or b"").decode("utf-8", "replace")


class ArrayModel:
    """A loaded delegate.

    Args:
        blob: the delegate's bytes.
        named: constants by key.
        output_capacities: bytes to offer for each output, at its recorded bound.
    """

    def __init__(
        self, blob: bytes, named: Mapping[str, bytes], output_capacities: Sequence[int]
    ) -> None:
        self._handle: int | None = None
        self._capacities = list(output_capacities)
        entries = (_CNamedData * max(len(named), 1))()
        for entry, (key, data) in zip(entries, named.items(), strict=False):
            entry.key = key.encode()
            entry.data = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
            entry.size = len(data)
        start = time.perf_counter()
        self._handle = _functions().etwg_model_load(blob, len(blob), entries, len(named))
        COST.loads += 1
        COST.load_seconds += time.perf_counter() - start
        if not self._handle:
            raise ModelError(last_error())

    def execute(self, inputs: Sequence[Array | int]) -> list[Array]:
        """The outputs, each of its live sizes. Ints are passed as scalars."""
        kept = []  # what the C structs point at
        arguments = (_CTensor * max(len(inputs), 1))()
        for argument, value in zip(arguments, inputs, strict=False):
            array = np.asarray(value, np.int64) if isinstance(value, int) else value
            kept.append(array := np.require(array, requirements="C"))
            argument.dtype = SCALAR if isinstance(value, int) else DTYPES.index(array.dtype)
            argument.rank = array.ndim
            argument.sizes[: array.ndim] = array.shape
            argument.data = array.ctypes.data if array.size else None
            argument.capacity = array.nbytes
        # NaN in every byte group: an element that was not written shows.
        storages = [np.full(max(n, 8), 0xFF, np.uint8) for n in self._capacities]
        results = (_CTensor * max(len(storages), 1))()
        for result, storage in zip(results, storages, strict=False):
            result.data = storage.ctypes.data
            result.capacity = storage.size
        start = time.perf_counter()
        code = _functions().etwg_model_execute(
            self._handle, arguments, len(inputs), results, len(storages)
        )
        COST.runs += 1
        COST.run_seconds += time.perf_counter() - start
        if code != 0:
            raise ModelError(last_error())
        return [_array(r, s) for r, s in zip(results, storages, strict=False)]

    def generate(
        self, token: int, position: int, count: int, stop: Callable[[int], bool] = lambda _: False
    ) -> list[int]:
        """Greedy tokens after `token`, up to the first for which `stop` is true."""
        tokens: list[int] = []

        def take(chosen: int) -> bool:
            tokens.append(chosen)
            return not stop(chosen)

        try:
            library().generate(self._handle or 0, token, position, count, take)
        except WebGPUError as error:
            raise ModelError(str(error)) from error
        return tokens

    def profile(self) -> dict[str, Any]:
        """Dispatches of the last run's plan."""
        text = _functions().etwg_model_profile_json(self._handle)
        if text is None:
            raise ModelError(last_error())
        result: dict[str, Any] = json.loads(text)
        return result

    @property
    def counts(self) -> tuple[int, int]:
        """Number of inputs and outputs."""
        c = _functions()
        return c.etwg_model_input_count(self._handle), c.etwg_model_output_count(self._handle)

    def close(self) -> None:
        if self._handle:
            _functions().etwg_model_free(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _array(result: _CTensor, storage: Array) -> Array:
    dtype = DTYPES[result.dtype]
    sizes = list(result.sizes[: result.rank])
    count = math.prod(sizes) * dtype.itemsize
    if count > storage.size:
        raise ModelError(f"an output of sizes {sizes} does not fit in what was offered for it")
    array: Array = storage[:count].view(dtype).reshape(sizes)
    return array
