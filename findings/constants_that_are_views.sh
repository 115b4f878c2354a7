#!/usr/bin/env bash
# Expected: a model's constant arrives in the program with the model's numbers, also where it is a
# view of a larger tensor.
#
# So: the Vulkan partitioner stores the view's whole storage from its beginning. Of arange(8)[4:],
# whose elements are 4 to 7, the delegate gets a tensor of 4 elements whose data are all 8, so that
# a runtime reads 0 to 3 there. The same module for ExecuTorch's portable kernels has 4 to 7.
#
# Why it matters: slices of a shared table (rotary frequencies, stacked weights) are ordinary in
# models. Make them tensors of their own, .clone(), before exporting.
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
from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
    extract_vk_flatbuffer,
    flatbuffer_to_vk_graph,
)
from executorch.exir import to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.runtime import Runtime

logging.disable(logging.WARNING)


class Adds(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("constant", torch.arange(8.0)[4:])

    def forward(self, x):
        return x + self.constant


def lower(partitioners):
    exported = torch.export.export(Adds(), (torch.zeros(4),))
    edge = to_edge_transform_and_lower(exported, partitioner=partitioners)
    return bytes(edge.to_executorch().buffer)


print("torch", torch.__version__, "executorch", version("executorch"))
method = Runtime.get().load_program(lower([])).load_method("forward")
portable = method.execute([torch.zeros(4)])[0].tolist()
print("portable kernels, 0 + constant:", portable)

file = deserialize_pte_binary(lower([VulkanPartitioner()]))
delegate = file.program.execution_plan[0].delegates[0].processed.index
blob = bytes(file.program.backend_delegate_data[delegate].data)
graph = flatbuffer_to_vk_graph(extract_vk_flatbuffer(blob))
(constant,) = (v.value for v in graph.values if getattr(v.value, "constant_id", -1) >= 0)
(entry,) = file.named_data.pte_data.values()
data = bytes(file.named_data.buffers[entry.buffer_index])
stored = torch.frombuffer(bytearray(data), dtype=torch.float32).tolist()
print("Vulkan delegate: a constant of sizes", constant.dims, "with the data", stored)

assert portable == [4, 5, 6, 7]
assert constant.dims == [4]
assert stored == [0, 1, 2, 3, 4, 5, 6, 7]
PYTHON
