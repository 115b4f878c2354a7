"""For C++ projects: ``cmake -DCMAKE_PREFIX_PATH="$(python -m executorch_webgpu.cmake)" ...``."""

from __future__ import annotations

import importlib.util

import executorch_webgpu


def prefix_path() -> str:
    """Where CMake finds `executorch` and `executorch_webgpu`: folders joined by ";"."""
    spec = importlib.util.find_spec("executorch")
    folders = list(spec.submodule_search_locations or []) if spec else []
    # Both folders of an editable installation: the built files are not beside the sources.
    return ";".join([*folders, *executorch_webgpu.__path__])


if __name__ == "__main__":
    print(prefix_path())
