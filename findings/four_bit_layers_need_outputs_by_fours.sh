#!/usr/bin/env bash
# Expected: a layer with 4-bit weights in groups (torchao::dequantize_affine) is exported for the
# Vulkan delegate whatever the number of its outputs, or is left to the CPU where that does not fit.
#
# So: VulkanPartitioner takes a layer of 66 outputs, pads its scales to 68 and not its weight, and
# then raises RuntimeError where it runs the call that it has made itself; nothing is exported.
# Outputs by fours are exported.
#
# Why it matters: it is the output layer of a language model whose vocabulary is of an odd number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON' 2>/dev/null
from importlib.metadata import version

import torch
import torchao
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower


class Linear(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.register_buffer("values", torch.ones(outputs, 64, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(outputs, 2))
        self.register_buffer("zeros", torch.zeros(outputs, 2, dtype=torch.int8))

    def forward(self, x):
        weight = torch.ops.torchao.dequantize_affine(
            self.values, (1, 32), self.scales, self.zeros, torch.int8, -8, 7
        )
        return torch.nn.functional.linear(x, weight)


def outcome(outputs):
    exported = torch.export.export(Linear(outputs), (torch.ones(2, 64),))
    try:
        to_edge_transform_and_lower(exported, partitioner=[VulkanPartitioner()])
    except Exception as error:
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {str(cause).splitlines()[0]}"
    return "exported"


print("torch", torch.__version__, "executorch", version("executorch"), "torchao", torchao.__version__)
for outputs, size in ((64, None), (65, 136), (66, 136), (68, None), (70, 144)):
    found = outcome(outputs)
    print(f"{outputs} outputs: {found}")
    wanted = f"RuntimeError: shape '[{outputs}, 2, 1]' is invalid for input of size {size}"
    assert found == ("exported" if size is None else wanted)
PYTHON
