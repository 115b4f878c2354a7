#!/usr/bin/env bash
# Expected: of torchao's two ways to keep a linear layer's weight in 8 bits, the Vulkan partitioner
# takes both, or refuses the layer.
#
# So: a layer of Int8WeightOnlyConfig is exported as mm with the transposed and cast weight. The
# partitioner takes the mm alone; the transposition and the cast of the constant are left to the CPU
# in every call, and the delegate's input is the whole weight in float32. With
# IntxWeightOnlyConfig(int8) the delegate has the weight and its dequantization.
#
# Why it matters: such a program runs and is right, but uploads four times the weight's bytes for
# every token.
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
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerAxis

COLUMNS, ROWS = 64, 32


def exported(config):
    """Operators outside the delegates, and sizes and dtypes of what these are given."""
    model = torch.nn.Sequential(torch.nn.Linear(COLUMNS, ROWS, bias=False)).eval()
    quantize_(model, config)
    graph = torch.export.export(model, (torch.randn(4, COLUMNS),))
    edge = to_edge_transform_and_lower(graph, partitioner=[VulkanPartitioner()])
    outside, given = [], []
    for node in edge.exported_program().graph.nodes:
        if node.op != "call_function":
            continue
        name = node.target.__name__
        if name == "executorch_call_delegate":
            values = [a.meta["val"] for a in node.args[1:] if hasattr(a, "meta")]
            given += [(str(v.dtype), list(v.shape)) for v in values]
        elif name != "getitem":
            outside.append(name)
    return outside, given


print("torch", torch.__version__, "torchao", version("torchao"), "executorch", version("executorch"))
outside, given = exported(Int8WeightOnlyConfig())
print("Int8WeightOnlyConfig: outside", outside, "given", given)
assert len(outside) == 2 and ("torch.float32", [COLUMNS, ROWS]) in given
outside, given = exported(IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0)))
print("IntxWeightOnlyConfig: outside", outside, "given", given)
assert not outside and given == [("torch.float32", [4, COLUMNS])]
PYTHON
