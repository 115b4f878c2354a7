"""The C library's heap, where it keeps what was given back."""

from __future__ import annotations

import ctypes
import functools
from typing import Any


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
