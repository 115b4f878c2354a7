#!/usr/bin/env bash
# Expected: self.buffer[1:3].add_(x) adds to the buffer, call after call. With the Vulkan
# partitioner's option alias_buffer_mutations the delegate owns the buffer or does not; not both.
#
# So: it is both. The program holds the buffer and writes it after each call, by slice_scatter and
# copy_ on the CPU; the delegate adds to a constant of its own with the buffer's first contents, and
# does not get the buffer as an input. So the sum starts anew in every call.
#
# Why it matters: a cache that is written in part (buffer[a:b].add_, .mul_, .copy_ of a function of
# it) forgets, and only the second call shows it.
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
from executorch.exir.schema import DelegateCall

logging.disable(logging.WARNING)


class AddsToRows(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("buffer", torch.zeros(4, 6))

    def forward(self, x):
        self.buffer[1:3].add_(x[1:3])
        return self.buffer.sum(1)


exported = torch.export.export(AddsToRows(), (torch.ones(4, 6),))
edge = to_edge_transform_and_lower(
    exported, partitioner=[VulkanPartitioner({"alias_buffer_mutations": True})]
)
program = deserialize_pte_binary(bytes(edge.to_executorch().buffer)).program
plan = program.execution_plan[0]
print("torch", torch.__version__, "executorch", version("executorch"))
steps, calls = [], []
for instruction in plan.chains[0].instructions:
    call = instruction.instr_args
    if isinstance(call, DelegateCall):
        delegate = plan.delegates[call.delegate_index].processed.index
        blob = bytes(program.backend_delegate_data[delegate].data)
        graph = flatbuffer_to_vk_graph(extract_vk_flatbuffer(blob))
        calls.append((call, graph))
        steps.append("delegate " + " ".join(c.name.split(".")[1] for c in graph.chain))
    else:
        steps.append(plan.operators[call.op_index].name)
    print(steps[-1], call.args)

first, graph = calls[0]
(constant,) = (v.value for v in graph.values if getattr(v.value, "constant_id", -1) >= 0)
inputs = first.args[: len(graph.input_ids)]
print("the first delegate's constant has the buffer's sizes,", constant.dims)
print("its inputs are values", inputs, "and the program's are", plan.inputs)
written = plan.chains[0].instructions[-1].instr_args.args[0]
print("what the program writes at the end is value", written)

assert constant.dims == [4, 6]
assert inputs == plan.inputs
assert steps[1] == "aten::slice_scatter"
assert steps[-1] == "aten::copy_"
assert written not in inputs
PYTHON
