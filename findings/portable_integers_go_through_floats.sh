#!/usr/bin/env bash
# Expected: sums and powers of integers are exact as long as they fit: torch's are.
#
# So: ExecuTorch's portable sum adds int64 in float32, and its pow computes integers in double.
# sum([16_777_217]) is 16_777_216, and (2**31 + 1)**2, which int64 holds, is one less.
#
# Why it matters: counts, indices and hashes come out a little wrong, and the dtype promises that
# they cannot.
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


class Sum(torch.nn.Module):
    def forward(self, x):
        return x.sum(0)


class Square(torch.nn.Module):
    def forward(self, x):
        return torch.pow(x, 2)


def run(module, x):
    edge = to_edge_transform_and_lower(torch.export.export(module, (x,)))
    program = Runtime.get().load_program(bytes(edge.to_executorch().buffer))
    (got,) = program.load_method("forward").execute([x])
    assert got.dtype == torch.int64
    print(f"{type(module).__name__} of {x.tolist()}: {got.tolist()}, in torch {module(x).tolist()}")
    return got.tolist()


print("torch", torch.__version__, "executorch", version("executorch"))
assert run(Sum(), torch.tensor([2**24 + 1])) == 2**24
assert run(Sum(), torch.tensor([2**24, 1])) == 2**24
assert run(Square(), torch.tensor([3, 2**31 + 1])) == [9, (2**31 + 1) ** 2 - 1]
PYTHON
