"""What keeps memory small: matrices in parts, and a heap that hands back what is free."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from typing import Any

_ROWS = 4096


def parts_of(rows: int) -> Iterator[slice]:
    """Of a matrix, for what is worked out in parts: embeddings have hundreds of thousands."""
    for start in range(0, rows, _ROWS):
        yield slice(start, min(start + _ROWS, rows))


def trim_heap() -> None:
    """Hand the system what is free: glibc keeps blocks of up to 32 MB, which can be gigabytes."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
