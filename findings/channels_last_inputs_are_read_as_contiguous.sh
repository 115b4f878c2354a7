#!/usr/bin/env bash
# Expected: the order of a tensor's memory does not change its numbers. A program exported for
# contiguous inputs takes one in channels-last order, or refuses it.
#
# So: ExecuTorch's Python runtime passes the memory as it is and says that it is contiguous. The
# result holds the numbers in another order, without an error.
#
# Why it matters: images often come in channels-last order (from numpy's [H, W, C], or from a model
# before). Call .contiguous() on them first.
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


class Doubles(torch.nn.Module):
    def forward(self, x):
        return x * 2


x = torch.arange(24.0).reshape(1, 3, 2, 4)
edge = to_edge_transform_and_lower(torch.export.export(Doubles(), (x,)))
program = Runtime.get().load_program(bytes(edge.to_executorch().buffer))
method = program.load_method("forward")
print("torch", torch.__version__, "executorch", version("executorch"))
last = x.to(memory_format=torch.channels_last)
assert torch.equal(x, last)
contiguous = method.execute([x])[0].flatten().tolist()
other = method.execute([last])[0].flatten().tolist()
print("contiguous:   ", contiguous[:8])
print("channels last:", other[:8])
assert contiguous == Doubles()(x).flatten().tolist()
assert other == Doubles()(last.permute(0, 2, 3, 1)).flatten().tolist()
PYTHON
