#!/usr/bin/env bash
# Expected: a split into one piece is exported for the Vulkan delegate like one into two, or is left
# to the CPU.
#
# So: VulkanPartitioner raises AttributeError where a split gives a list of one tensor, and nothing
# is exported at all; so does the WebGPU partitioner, which is built on it.
#
# Why it matters: models split by a number from their configuration (heads, groups, experts), which
# is 1 in the smallest of a family.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>/dev/null
from importlib.metadata import version

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.webgpu.partitioner import WebGPUPartitioner
from executorch.exir import to_edge_transform_and_lower


class Splits(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return [piece * 2 for piece in torch.split(x, self.size, 1)]


def outcome(size, partitioner):
    exported = torch.export.export(Splits(size), (torch.ones(7, 10, 10),))
    try:
        to_edge_transform_and_lower(exported, partitioner=[partitioner])
    except AttributeError as error:
        return f"AttributeError: {error}"
    return "exported"


print("torch", torch.__version__, "executorch", version("executorch"))
for partitioner in (VulkanPartitioner, WebGPUPartitioner):
    for size, expected in ((5, "exported"), (10, "AttributeError: 'list' object has no attribute 'shape'")):
        found = outcome(size, partitioner())
        print(f"{partitioner.__name__}, {10 // size} piece(s): {found}")
        assert found == expected
PYTHON
