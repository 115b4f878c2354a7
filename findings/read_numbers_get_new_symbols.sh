#!/usr/bin/env bash
# Expected: what torch._check says of a number that a program reads from a tensor (a token's position) holds through the
# whole export.
#
# So: torch.export and ExecuTorch's edge program accept rows cut from a table at such a number, but with the Vulkan
# partitioner the export ends with an error about data-dependent expressions. Passes of the exporter trace the graph again, each
# time giving the number a new symbol; what was asserted of it may lie in another part of the graph than what the
# partitioner takes, and of the new symbol nothing is known, not even that it is no less than 0.
#
# Why it matters: export_llm without its custom attention and with dynamic lengths fails this way, and nothing in the
# program is wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 torchao==0.18.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - 2>/dev/null <<'PYTHON'
from importlib.metadata import version

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower


class Rows(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(32.0).reshape(8, 4))

    def forward(self, x, place):
        start = place[0].item()
        torch._check(start >= 0)
        torch._check(start + 3 <= 8)
        rows = self.table.narrow(0, start, 3)
        return torch.cumsum(x + rows, 0) * 2 + rows  # the partitioner does not take cumsum


def export(partitioners):
    graph = torch.export.export(Rows(), (torch.randn(3, 4), torch.tensor([2])))
    to_edge_transform_and_lower(graph, partitioner=partitioners).to_executorch()


print("torch", torch.__version__, "executorch", version("executorch"))
export([])
print("without a partitioner: exported")
try:
    export([VulkanPartitioner()])
except Exception as error:
    while error.__cause__ is not None:
        error = error.__cause__
    print("with it:", type(error).__name__, str(error).splitlines()[0])
    assert type(error).__name__ == "GuardOnDataDependentSymNode" and "< 0" in str(error)
else:
    raise SystemExit("with it: exported")
PYTHON
