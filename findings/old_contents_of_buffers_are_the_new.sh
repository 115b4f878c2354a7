#!/usr/bin/env bash
# Expected: old = self.buffer.clone() keeps the buffer's contents from before self.buffer.add_(x),
# as in torch.
#
# So: with the Vulkan partitioner's option alias_buffer_mutations, the clone is removed as
# superfluous and the addition writes the buffer in place. What uses old after that reads the new
# contents: a module that returns old * 2 and one that returns buffer * 2 become the same delegate,
# byte by byte.
#
# Why it matters: differences to the last step, and running means that need the value before, are
# off by a step. Nothing fails. Computing with the old contents before the write is right.
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

logging.disable(logging.WARNING)
x = torch.ones(4)


class Adds(torch.nn.Module):
    def __init__(self, which):
        super().__init__()
        self.which = which
        self.register_buffer("buffer", torch.zeros(4))

    def forward(self, x):
        old = self.buffer.clone()
        self.buffer.add_(x)
        return (old if self.which == "old" else self.buffer) * 2


def delegate(which):
    edge = to_edge_transform_and_lower(
        torch.export.export(Adds(which), (x,)),
        partitioner=[VulkanPartitioner({"alias_buffer_mutations": True})],
    )
    program = deserialize_pte_binary(bytes(edge.to_executorch().buffer)).program
    (delegate,) = program.execution_plan[0].delegates
    return bytes(program.backend_delegate_data[delegate.processed.index].data)


print("torch", torch.__version__, "executorch", version("executorch"))
delegates = {which: delegate(which) for which in ("old", "new")}
for which, blob in delegates.items():
    given = Adds(which)(x).tolist()
    print(f"{which} contents: torch gives {given}, a delegate of {len(blob)} bytes")
print("the delegates are the same:", delegates["old"] == delegates["new"])

assert Adds("old")(x).tolist() == [0, 0, 0, 0]
assert Adds("new")(x).tolist() == [2, 2, 2, 2]
assert delegates["old"] == delegates["new"]
PYTHON
