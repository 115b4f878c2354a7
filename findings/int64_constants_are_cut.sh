#!/usr/bin/env bash
# Expected: a number of a model that needs 64 bits keeps its value in the exported program, or the
# exporter refuses it.
#
# So: the Vulkan partitioner casts int64 constants to int32 without a look at their values. x *
# 3_000_000_000 over int64 becomes x * -1_294_967_296 in the delegate, in silence. ExecuTorch's
# portable kernels multiply by 3_000_000_000.
#
# Why it matters: hashes, ids and times in nanoseconds are larger than 32 bits, and nothing in the
# program shows that they were.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import logging
from importlib.metadata import version

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.runtime import Runtime

logging.disable(logging.WARNING)
x = torch.tensor([1, 2])


class Scales(torch.nn.Module):
    def forward(self, x):
        return x * 3_000_000_000


def lower(partitioners):
    edge = to_edge_transform_and_lower(
        torch.export.export(Scales(), (x,)), partitioner=partitioners
    )
    return bytes(edge.to_executorch().buffer)


print("torch", torch.__version__, "executorch", version("executorch"))
portable = Runtime.get().load_program(lower([])).load_method("forward").execute([x])[0].tolist()
print("portable kernels, [1, 2] * 3_000_000_000:", portable)

file = deserialize_pte_binary(lower([VulkanPartitioner()]))
(entry,) = file.named_data.pte_data.values()
data = bytes(file.named_data.buffers[entry.buffer_index])
factor = int.from_bytes(data, "little", signed=True)
print(f"Vulkan delegate: a factor of {len(data)} bytes, {factor}")

assert portable == [3_000_000_000, 6_000_000_000]
assert len(data) == 4
assert factor == 3_000_000_000 - 2**32
PYTHON
