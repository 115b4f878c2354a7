#!/usr/bin/env bash
# Expected: a rotary embedding goes through the Vulkan partitioner as what it is: fused into et_vk.apply_rotary_emb_hf where
# queries are [batch, rows, heads, width] and tables [rows, width], as that operator's pattern has them; else as the
# operators that it is made of.
#
# So: the pattern asks for operators alone. With heads in front of rows and tables [batch, rows, width], as transformers'
# models have them (here with a part of each head that is not turned, as Phi 3's and Phi 4's), the same operator is written.
# Its Python form still gives the right numbers, since three dimensions are broadcast another way than two; by the sizes
# that it is written for, it takes a table's row for each head instead of for each token.
#
# Why it matters: nothing in the program says which was meant but the rank of the tables. A runtime that does not look at it
# gives wrong numbers, and one that does must refuse programs of models that everybody has.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 torchao==0.18.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - 2>/dev/null <<'PYTHON'
from importlib.metadata import version

import torch
from executorch.backends.vulkan._passes import FusePatternsPass
from executorch.exir import to_edge

HEADS, ROWS, WIDTH, TURNED = 4, 4, 32, 24


def half_turned(x):
    return torch.cat((-x[..., TURNED // 2 :], x[..., : TURNED // 2]), -1)


class Rotary(torch.nn.Module):
    def forward(self, q, k, cos, sin):
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        turned, others = (q[..., :TURNED], k[..., :TURNED]), (q[..., TURNED:], k[..., TURNED:])
        return tuple(
            torch.cat((x * cos + half_turned(x) * sin, rest), -1)
            for x, rest in zip(turned, others)
        )


torch.manual_seed(0)
q, k = torch.randn(1, HEADS, ROWS, WIDTH), torch.randn(1, HEADS, ROWS, WIDTH)


def fused(*inputs):
    edge = to_edge(torch.export.export(Rotary(), inputs))
    program = edge.exported_program()
    fuse = FusePatternsPass()
    fuse._exported_program = program
    graph = fuse.call(program.graph_module).graph_module
    names = [n.target.name() for n in graph.graph.nodes if n.op == "call_function" and "rotary" in str(n.target)]
    return names, graph


print("torch", torch.__version__, "executorch", version("executorch"))
rows_first = (q, k, torch.randn(ROWS, TURNED), torch.randn(ROWS, TURNED))
print("rows before heads:", fused(*rows_first)[0])
tables = torch.randn(1, ROWS, TURNED), torch.randn(1, ROWS, TURNED)
found, graph = fused(q, k, *tables)
print("heads before rows:", found)
assert found == ["et_vk::apply_rotary_emb_hf"], found
expected = Rotary()(q, k, *tables)
whole = graph(q, k, *tables)
print("the graph in eager differs by up to", max((a - b).abs().max().item() for a, b in zip(whole, expected)))
assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, expected))
got = torch.ops.et_vk.apply_rotary_emb_hf(q, k, tables[0][0], tables[1][0], 0)
print("the operator with tables [rows, width] differs by up to", (got[0] - expected[0]).abs().max().item())
assert (got[0] - expected[0]).abs().max() > 0.1
PYTHON
