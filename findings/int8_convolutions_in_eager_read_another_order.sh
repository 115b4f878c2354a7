#!/usr/bin/env bash
# Expected: the custom operators that the executorch wheel brings for 8-bit networks (et_vk.q8ta_*), run in eager, compute
# what the exporter asks a delegate for: its program behind the quantizing passes can serve as the reference.
#
# So: et_vk.q8ta_conv2d reads its weights as [outputs, channels, height, width], and the exporter writes them as [outputs,
# height, width, channels]. The results have nothing to do with the network; with the weights put in the other order they are
# equal. Kernels of one pixel, and those for each channel, are not affected.
#
# Why it matters: who tests a runtime against the program in eager finds it wrong where it is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0 torchao==0.18.0 executorch==1.5.1
"$folder/venv/bin/python" -W ignore - 2>/dev/null <<'PYTHON'
import copy
from importlib.metadata import version
from unittest.mock import patch

import torch
from executorch.backends.vulkan import vulkan_preprocess
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

CHANNELS, OUTPUTS, SIDE = 4, 8, 3


def folded(network, x):
    """The delegate's program behind the pass that makes 8-bit operators, as it goes to the serializer."""
    found = []
    apply = vulkan_preprocess.apply_passes

    def noting(program, passes):
        program = apply(program, passes)
        if any(isinstance(p, vulkan_preprocess.FoldQDQPass) for p in passes):
            found.append(copy.deepcopy(program))
        return program

    with patch.object(vulkan_preprocess, "apply_passes", noting):
        to_edge_transform_and_lower(
            torch.export.export(network, (x,)), partitioner=[VulkanPartitioner()]
        )
    return found[0]


class Noting(torch.fx.Interpreter):
    """Runs a program, and keeps what the convolution is given."""

    def call_function(self, target, args, kwargs):
        if "q8ta_conv2d" in str(target):
            self.weights = args[3]
            if self.reordered:
                kernel = args[3].view(OUTPUTS, SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2)
                args = (*args[:3], kernel.reshape(OUTPUTS, -1), *args[4:])
        return super().call_function(target, args, kwargs)


torch.manual_seed(0)
x = torch.randn(1, CHANNELS, 8, 8)
conv = torch.nn.Conv2d(CHANNELS, OUTPUTS, SIDE, padding=1).eval()
config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
prepared = prepare_pt2e(
    torch.export.export(conv, (x,)).module(), XNNPACKQuantizer().set_global(config)
)
prepared(x)
network = convert_pt2e(prepared)
program = folded(network, x)
print("torch", torch.__version__, "torchao", version("torchao"), "executorch", version("executorch"))
wanted = network(x)
differences = []
for reordered in (False, True):
    run = Noting(program.module())
    run.reordered = reordered
    (got,) = run.run(x)
    differences.append(float((got - wanted).abs().max()))
largest = float(wanted.abs().max())
print("largest difference as it is:", differences[0], "- in the other order:", differences[1])
print("largest result:", largest)
assert differences[0] > largest / 2 and differences[1] == 0
PYTHON
