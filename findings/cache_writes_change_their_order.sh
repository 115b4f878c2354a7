#!/usr/bin/env bash
# Expected: two writes of one KV cache keep their order in the exported program: the later one's
# rows stay.
#
# So: the Vulkan partitioner makes one operator of an attention and a cache write, which writes the
# cache when the attention runs. It takes the first write it finds, and leaves the second where it
# was: k and then 2k arrive in the delegate as 2k and then k. Swapping the two lines of the model
# swaps them in the delegate, too: again the other way around.
#
# Why it matters: a step that writes a draft of a row and then its final value attends to the draft,
# and later steps, too. Nothing fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import logging
from importlib.metadata import version

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
    extract_vk_flatbuffer,
    flatbuffer_to_vk_graph,
)
from executorch.exir import to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*

logging.disable(logging.WARNING)


class WritesTwice(torch.nn.Module):
    def __init__(self, factors):
        super().__init__()
        self.factors = factors
        self.register_buffer("k", torch.zeros(1, 16, 2, 8))
        self.register_buffer("v", torch.zeros(1, 16, 2, 8))

    def forward(self, q, k, v, position):
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at < 13)
        for factor in self.factors:
            torch.ops.llama.update_cache(k if factor == 1 else k * factor, self.k, at)
        torch.ops.llama.update_cache(v, self.v, at)
        return torch.ops.llama.custom_sdpa(q, self.k, self.v, at, None, 0.0, True)


ROWS = [torch.randn(1, 3, heads, 8) for heads in (4, 2, 2)]


def factors_in_delegate(*factors):
    """Of the rows that the delegate's calls write to the cache of keys, in the order of calls."""
    model = WritesTwice(factors)
    exported = torch.export.export(model, (*ROWS, torch.tensor([0])), strict=False)
    edge = to_edge_transform_and_lower(exported, partitioner=[VulkanPartitioner()])
    program = deserialize_pte_binary(bytes(edge.to_executorch().buffer)).program
    delegate = program.execution_plan[0].delegates[0].processed.index
    blob = bytes(program.backend_delegate_data[delegate].data)
    graph = flatbuffer_to_vk_graph(extract_vk_flatbuffer(blob))
    written = []
    for call in graph.chain:
        print("   ", call.name, call.args)
        if call.name == "update_cache.default":
            written.append(call.args[0])
        elif call.name == "sdpa_with_kv_cache.default":
            written.append(call.args[1])
    return [1 if rows in graph.input_ids else 2 for rows in written]


def cached_by_eager(*factors):
    model = WritesTwice(factors)
    model(*ROWS, torch.tensor([0]))
    return round((model.k[:, :3] / ROWS[1]).mean().item())


print("torch", torch.__version__, "executorch", version("executorch"))
for factors in ((1, 2), (2, 1)):
    print("the model writes k times", factors)
    lowered = factors_in_delegate(*factors)
    eager = cached_by_eager(*factors)
    print(f"the delegate writes k times {lowered}; eager's cache holds k times {eager}")
    assert eager == factors[1]
    assert lowered == [factors[1], factors[0]]
PYTHON
