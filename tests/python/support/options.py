"""Options of the backend for a part of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executorch_webgpu.native import library


@contextmanager
def option(key: str, value: str) -> Iterator[None]:
    """The option has this value inside, and none afterwards."""
    library().set_option(key, value)
    try:
        yield
    finally:
        library().set_option(key, "")
