"""What the adapter of these tests can do."""

from __future__ import annotations

import os

import executorch_webgpu


def has_matrices() -> bool:
    selected = executorch_webgpu.devices()["selected"]
    words = os.environ.get("ETWEBGPU_KERNELS", "").split(",")
    chosen = "matrices" in words and ("discrete" in words or selected["type"] != "software")
    return chosen and "chromium-experimental-subgroup-matrix" in selected["features"]
