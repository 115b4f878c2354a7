#!/usr/bin/env bash
# Expected: with MemoryPlanningPass(share_mutable_buffers=True), methods share a buffer if it is one
# tensor of the models that they were exported from, and otherwise do not.
#
# So: the name within each method's module decides. One state that is called "state" in one method
# and "owner.state" in another gets memory of its own in each, and what one method writes the other
# does not see. Two states of two unrelated models that have one name share memory.
#
# Why it matters: wrapping a model for a second method (a reset, a getter) changes the names, and
# the methods part in silence; a program of two models mixes their states.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import torch
from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.schema import Tensor

SIZE = 5  # of the state alone, by which it is found


class Adds(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("state", torch.zeros(SIZE))

    def forward(self, x):
        return self.state.add_(x).sum()


class Resets(torch.nn.Module):
    def __init__(self, owner):
        super().__init__()
        self.owner = owner

    def forward(self, x):
        return self.owner.state.mul_(0).sum() + x


def places(**methods):
    """Where the planner has put each method's state: memory, and offset in it."""
    x = (torch.ones(1),)
    edge = to_edge_transform_and_lower({n: torch.export.export(m, x) for n, m in methods.items()})
    planning = MemoryPlanningPass(share_mutable_buffers=True)
    program = edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planning))
    found = {}
    for plan in deserialize_pte_binary(bytes(program.buffer)).program.execution_plan:
        tensors = [v.val for v in plan.values if isinstance(v.val, Tensor)]
        place = next(t.allocation_info for t in tensors if t.sizes == [SIZE])
        found[plan.name] = place.memory_id, place.memory_offset_low
    return found


print("torch", torch.__version__, "executorch", version("executorch"))
model = Adds()
same_name = places(first=Resets(model), second=Resets(model))
print("one state under one name:", same_name)
other_name = places(add=model, reset=Resets(model))
print("one state under two names:", other_name)
unrelated = places(one=Adds(), another=Adds())
print("two states under one name:", unrelated)

assert same_name["first"] == same_name["second"]
assert other_name["add"] != other_name["reset"]
assert unrelated["one"] == unrelated["another"]
PYTHON
