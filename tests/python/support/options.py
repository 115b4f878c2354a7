"""Options of the backend for a part of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executorch_webgpu.native import library

ACTIVE: dict[str, str] = {}


@contextmanager
def option(key: str, value: str) -> Iterator[None]:
    """The option has this value inside, and afterwards what it had before."""
    before = ACTIVE.get(key, "")
    _set(key, value)
    try:
        yield
    finally:
        _set(key, before)


def _set(key: str, value: str) -> None:
    library().set_option(key, value)
    if value:
        ACTIVE[key] = value
    else:
        ACTIVE.pop(key, None)
