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

# Bytes 4 to 8 of every ExecuTorch program.
_PROGRAM_MAGIC = b"ET12"


def cache_dir() -> Path:
    """This package's folder for files that can be made again, by the XDG rules."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "executorch-webgpu"


def cached_smollm2() -> Path:
    """Where SmolLM2, exported with the default recipe, is kept: another file for other code."""
    sources = "calibration checkpoint lowering quantize shape smollm2 tokenizer transformer"
    digest = sha256()
    for name in sources.split():
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return cache_dir() / f"smollm2-{digest.hexdigest()[:12]}" / "smollm2.pte"


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` only when everything is written to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_program(path: Path) -> None:
    """Raise WebGPUError unless `path` is a file that begins like an ExecuTorch program."""
    _check_exists(path)
    if not path.is_file():
        raise WebGPUError(f"not a file: {path}")
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:] != _PROGRAM_MAGIC:
        raise WebGPUError(f"not an ExecuTorch program (.pte): {path}")


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
