#!/usr/bin/env bash
# Expected: buffer.copy_(x) fills the buffer, and x is broadcast to its sizes; reading the buffer
# afterwards gives the buffer's sizes.
#
# So: ExecuTorch's export takes the new contents for x itself. After copying a row into a buffer of
# two rows, what follows sees one row: the sum is half of torch's, and an elementwise result has one
# row. This is so without any backend.
#
# Why it matters: buffer.copy_(scalar tensor or row) is how a state is set or reset. Nothing fails;
# write buffer.copy_(x.expand_as(buffer)).
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

x = torch.ones(1, 3)


class Fills(torch.nn.Module):
    def __init__(self, expand):
        super().__init__()
        self.expand = expand
        self.register_buffer("buffer", torch.zeros(2, 3))

    def forward(self, x):
        self.buffer.copy_(x.expand(2, 3) if self.expand else x)
        return self.buffer.sum(), self.buffer + 1


def run(expand):
    edge = to_edge_transform_and_lower(torch.export.export(Fills(expand), (x,)))
    program = Runtime.get().load_program(bytes(edge.to_executorch().buffer))
    total, more = program.load_method("forward").execute([x])
    return total.item(), list(more.shape)


print("torch", torch.__version__, "executorch", version("executorch"))
total, more = Fills(False)(x)
eager = total.item(), list(more.shape)
print("torch:                   ", eager)
print("executorch:              ", run(False))
print("executorch, with expand: ", run(True))
assert eager == (6.0, [2, 3])
assert run(False) == (3.0, [1, 3])
assert run(True) == eager
PYTHON
