#!/usr/bin/env bash
# Expected: concatenating two tensors of sizes [4, 5, 0] along dimension 0 gives [8, 5, 0], as in
# torch.
#
# So: ExecuTorch's portable cat gives [0, 5, 0] where the last size is dynamic and happens to be 0:
# the size along the joined dimension is lost, too.
#
# Why it matters: caches that start empty are joined along another dimension, too (heads, batches);
# what follows then has sizes that do not go together, or too few rows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


class Joins(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x])


length = torch.export.Dim("length", min=0, max=6)
exported = torch.export.export(Joins(), (torch.ones(4, 5, 6),), dynamic_shapes=({2: length},))
pte = bytes(to_edge_transform_and_lower(exported).to_executorch().buffer)
method = Runtime.get().load_program(pte).load_method("forward")
print("torch", torch.__version__, "executorch", version("executorch"))
for live, expected in ((6, [8, 5, 6]), (1, [8, 5, 1]), (0, [0, 5, 0])):
    x = torch.ones(4, 5, live)
    sizes = list(method.execute([x])[0].shape)
    print(f"cat of two {list(x.shape)}: {sizes}, in torch {list(Joins()(x).shape)}")
    assert sizes == expected
    assert list(Joins()(x).shape) == [8, 5, live]
PYTHON
