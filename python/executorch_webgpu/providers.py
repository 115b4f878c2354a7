"""Finding WebGPU implementations among the installed Python packages.

Two are known: Dawn (PyPI ``wgpudawn``) and wgpu-native (PyPI ``wgpu``). Neither package is
imported: both start their own Python layer on import, and only the C functions underneath are
    wanted.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

DAWN = "dawn"
WGPU_NATIVE = "wgpu-native"

_WGPU_NATIVE_FILES = {
    "linux": ("libwgpu_native-release.so", "libwgpu_native.so"),
    "darwin": ("libwgpu_native-release.dylib", "libwgpu_native.dylib"),
    "win32": ("wgpu_native-release.dll", "wgpu_native.dll"),
}


@dataclass(frozen=True)
class FunctionTable:
    """An implementation that lives in this process: C function name -> address."""

    name: str
    addresses: Mapping[str, int]
    # Unloading the module would leave the addresses dangling.
    keep_alive: ModuleType | None = field(default=None, repr=False)


@dataclass(frozen=True)
class LibraryFile:
    """An implementation in a shared library that exports the standard webgpu.h functions."""

    name: str
    path: Path


Provider = FunctionTable | LibraryFile


def find_providers() -> list[Provider]:
    """The installed implementations, the preferred one first. Empty when there is none."""
    return [provider for provider in (find_dawn(), find_wgpu_native()) if provider]


def find_dawn() -> FunctionTable | None:
    """Dawn's C functions from PyPI ``wgpudawn``, or None when it is not installed."""
    folder = _package_folder("wgpudawn")
    module_files = sorted((folder / "_lib").glob("_wgpu_dawn*")) if folder else []
    binaries = [f for f in module_files if f.suffix in (".so", ".pyd", ".dylib")]
    if not binaries:
        return None
    module = _load_extension("_wgpu_dawn", binaries[0])
    ffi, lib = module.ffi, module.lib
    names = [name for name in dir(lib) if name.startswith("wgpu")]
    addresses = {name: int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in names}
    return FunctionTable(DAWN, addresses, keep_alive=module)


def find_wgpu_native() -> LibraryFile | None:
    """The wgpu-native library from PyPI ``wgpu``, or None when it is not installed."""
    folder = _package_folder("wgpu")
    if folder is None:
        return None
    for name in _WGPU_NATIVE_FILES.get(sys.platform, ()):
        path = folder / "resources" / name
        if path.is_file():
            return LibraryFile(WGPU_NATIVE, path)
    return None


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _load_extension(name: str, path: Path) -> ModuleType:
    """Load a cffi extension module from its file, without its parent package."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
