"""Where files go, and how they get there whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from .errors import WebGPUError

StrPath = str | os.PathLike[str]
# The .ptd files of a program, or folders of them.
DataPath = StrPath | Sequence[StrPath] | None

# Bytes 4 to 8 of every ExecuTorch program, and of every tensor data file.
_PROGRAM_MAGIC, _DATA_MAGIC = b"ET12", b"FT01"


def cache_dir() -> Path:
    """This package's folder for files that can be made again, by the XDG rules."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "executorch-webgpu"


def cached_smollm2() -> Path:
    """Where SmolLM2, exported with the default recipe, is kept: another file for other code."""
    package = Path(__file__).parent
    digest = sha256((package / "tokenizer.py").read_bytes())
    for room in ("decoders", "lowering"):
        for file in sorted((package / room).glob("*.py")):
            digest.update(file.read_bytes())
    return cache_dir() / f"smollm2-{digest.hexdigest()[:12]}" / "smollm2.pte"


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` only when everything is written to it.

    Raises WebGPUError where something else than a file is there.
    """
    path = _place(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_place(path: Path) -> None:
    """Raise WebGPUError or OSError where nothing could be written to `path`."""
    with tempfile.TemporaryFile(dir=_place(path).parent):
        pass


def _place(path: Path) -> Path:
    """Where a link leads, in a folder that is there."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise WebGPUError(f"{path} is there already, and is no file")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_program(path: Path) -> None:
    """Raise WebGPUError unless `path` is a file that begins like an ExecuTorch program."""
    check_file(path)
    with path.open("rb") as file:
        magic = file.read(8)[4:]
    if magic == _DATA_MAGIC:
        raise WebGPUError(f"not a program (.pte) but its data (.ptd): {path}")
    if magic != _PROGRAM_MAGIC:
        empty = ", it is empty" if path.stat().st_size == 0 else ""
        raise WebGPUError(f"not an ExecuTorch program (.pte){empty}: {path}")


def check_file(path: Path) -> None:
    """Raise WebGPUError unless `path` is a file."""
    _check_exists(path)
    if not path.is_file():
        raise WebGPUError(f"not a file: {path}")


def make_folder(path: Path) -> None:
    """Make a folder to write into. Raises WebGPUError where there can be none."""
    if path.exists() and not path.is_dir():
        raise WebGPUError(f"{path} is a file, not a folder to write into")
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError as error:
        raise WebGPUError(f"cannot write into the folder {path}: {error.strerror}") from error
    if not writable:
        raise WebGPUError(f"cannot write into the folder {path}")


def data_file_list(paths: DataPath) -> list[Path]:
    """One path or several, of files or folders. Raises WebGPUError for one that does not exist."""
    if paths is None:
        return []
    found = [Path(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    for path in found:
        _check_exists(path)
    return found


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise WebGPUError(f"no such file: {path}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
