"""For all Python tests. A missing native library is an error, never a skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")

from executorch_webgpu import native
from executorch_webgpu.files import cached_smollm2
from executorch_webgpu.smollm2 import Recipe, export


@pytest.fixture(scope="session", autouse=True)
def library() -> native.Library:
    return native.library()


# Exports are kept in the cache folder: made once per machine and state of the exporting code.


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2 as `executorch-webgpu chat` exports it."""
    path = cached_smollm2()
    if not path.is_file():
        export(path)
    return path


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    return Recipe(context=256, layers=2)


@pytest.fixture(scope="session")
def tiny(tiny_recipe: Recipe) -> Path:
    """Two layers of SmolLM2 with a short context."""
    path = cached_smollm2().parent / "tiny" / "tiny.pte"
    if not path.is_file():
        export(path, tiny_recipe)
    return path
