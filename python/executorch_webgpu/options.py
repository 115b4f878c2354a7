"""Settings of the backend."""

from __future__ import annotations

import os
from typing import Literal

from .files import DataPath
from .native import library, path_list


def options(
    *,
    adapter: int | str | None = None,
    provider: str | None = None,
    profiling: bool | None = None,
    kv_cache_dtype: Literal["f32", "f16"] | None = None,
    matmul_dtype: Literal["f32", "f16"] | None = None,
    memory_limit: int | None = None,
    trusted: bool | None = None,
    self_test: bool | None = None,
    shared_states: bool | None = None,
    data_files: DataPath = None,
) -> None:
    """Set options for models loaded afterwards. What is left out stays as it is; "" resets.

    Args:
        adapter: an index from `devices()`, a type (discrete, integrated, software) or part of a
            name.
        provider: "dawn", "wgpu-native", or the path of a library with the webgpu.h functions.
        profiling: record GPU timestamps of every dispatch.
        kv_cache_dtype: storage of key-value caches.
        matmul_dtype: what linear layers and attention over many tokens multiply; f16 is for
            adapters with matrix units (Dawn's subgroup matrices) and changes nothing on others.
        memory_limit: bytes of GPU memory a model may take; 0 for no limit.
        trusted: compile kernels without the provider's checks of indices, for programs whose maker
            you trust; some percent faster on some GPUs.
        self_test: try each kernel on the device before a model uses it, against one that uses no
            feature of the device, and do without features whose kernels are wrong there. Results
            are kept in the cache folder; `devices()` shows them.
        shared_states: methods of a program whose mutable buffers have equal first contents, types
            and sizes share them (the default), or each keeps its own.
        data_files: .ptd files, or folders of them, for weights that are neither in a program nor in
            the one data file that ExecuTorch's `load_program` takes. A text may be several paths,
            as in the environment.

    Raises:
        WebGPUError: an option has a value the backend does not know.
    """
    given = {
        "adapter": adapter,
        "provider": provider,
        "profiling": profiling,
        "kv_cache_dtype": kv_cache_dtype,
        "matmul_dtype": matmul_dtype,
        "memory_limit": memory_limit,
        "trusted": trusted,
        "self_test": self_test,
        "shared_states": shared_states,
        "data_files": _path_text(data_files),
    }
    for key, value in given.items():
        if value is not None:
            library().set_option(key, _text(value))


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _path_text(paths: DataPath) -> str | None:
    if paths is None or isinstance(paths, str):
        return paths
    return path_list([paths] if isinstance(paths, os.PathLike) else paths)
