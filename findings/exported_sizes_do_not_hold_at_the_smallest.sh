#!/usr/bin/env bash
# Expected: a program exported with Dim("rows", min=0) has output sizes that hold for 0 rows.
#
# So: torch.export settles sizes as for two rows and more. The first row of x, x[:1], is recorded as
# exactly one row, though the exported module itself gives none for an empty x. ExecuTorch plans its
# memory by the recorded sizes, and cannot run the program with no rows.
#
# Why it matters: 0 is in the range that the export accepted and prints. Models whose caches start
# empty fail at their first call only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.schema import TensorShapeDynamism


class First(torch.nn.Module):
    def forward(self, x):
        return x[:1] * 2


rows = torch.export.Dim("rows", min=0, max=9)
exported = torch.export.export(First(), (torch.ones(3, 2),), dynamic_shapes=({0: rows},))
print("torch", torch.__version__, "executorch", version("executorch"))
(result,) = exported.graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor)
recorded = list(result.meta["val"].shape)
live = list(exported.module()(torch.ones(0, 2)).shape)
print("range of rows:", *exported.range_constraints.values())
print("sizes of x[:1] * 2 in the graph:", recorded)
print("sizes that the exported module gives for 0 rows:", live)

edge = to_edge_transform_and_lower(exported)
plan = deserialize_pte_binary(bytes(edge.to_executorch().buffer)).program.execution_plan[0]
output = plan.values[plan.outputs[0]].val
print("the output in ExecuTorch's program:", output.sizes, output.shape_dynamism.name)

assert recorded == [1, 2]
assert live == [0, 2]
assert output.sizes == [1, 2]
assert output.shape_dynamism == TensorShapeDynamism.STATIC
PYTHON
