#!/usr/bin/env bash
# Expected: a norm whose epsilon is a tensor of one number, as PT2E's quantization leaves lifted constants behind, goes
# through the Vulkan partitioner: fused into et_vk.rms_norm, or as the operators that it is made of.
#
# So: the fusing pattern takes the tensor for a number and asks it for its value while it has only its sizes, which
# ends the whole export with an error about data-dependent expressions. With the same number written as one it is fused.
#
# Why it matters: every 8-bit export of a language model by PT2E (export_llm's vulkan_8w) fails this way, and the sentence
# names neither the norm nor the epsilon.
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


class Norm(torch.nn.Module):
    def __init__(self, epsilon):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 2, 8))
        if isinstance(epsilon, torch.Tensor):
            self.register_buffer("epsilon", epsilon)
        else:
            self.epsilon = epsilon

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.epsilon) * self.weight


def lowered(epsilon):
    graph = torch.export.export(Norm(epsilon).eval(), (torch.randn(3, 8),))
    edge = to_edge_transform_and_lower(graph, partitioner=[VulkanPartitioner()])
    return [n.target.__name__ for n in edge.exported_program().graph.nodes if n.op == "call_function"]


print("torch", torch.__version__, "executorch", version("executorch"))
found = lowered(1e-2)
print("a number:", found)
assert found == ["executorch_call_delegate", "getitem"]
try:
    lowered(torch.tensor(1e-2))
except Exception as error:
    while error.__cause__ is not None:
        error = error.__cause__
    print("a buffer:", type(error).__name__, str(error).splitlines()[0])
    assert type(error).__name__ == "GuardOnDataDependentSymNode"
else:
    raise SystemExit("a buffer: exported")
PYTHON
