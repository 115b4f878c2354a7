"""For all Python tests. A missing native library is an error, never a skip."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")

from executorch_webgpu import native


@pytest.fixture(scope="session", autouse=True)
def library() -> native.Library:
    return native.library()
