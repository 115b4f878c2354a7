#!/usr/bin/env bash
# Expected: torch's conv2d gives the same sums for the same weights, however they lie in memory.
#
# So: with one input channel and weights whose strides are those of channels_last (they are contiguous as well, by what
# torch says, since the one channel's stride does not count), a float convolution of several images with a stride along
# the width alone, whose output is one column wide, gives other numbers on a processor with AVX-512, as wrong as the results
# are large. In doubles, without oneDNN or AVX-512 (ONEDNN_MAX_CPU_ISA=AVX2), and with the weights copied they are right.
#
# Why it matters: such weights come of a permute, as when rows [outputs, height, width, channels] are unpacked for a
# reference; a runtime that is right then looks wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile torch==2.13.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from torch.nn.functional import conv2d

generator = torch.Generator().manual_seed(0)


def integers(*sizes):
    return torch.randint(-8, 8, sizes, generator=generator).float()


def wrong(x, weight, stride):
    """The largest difference from the sums in doubles, which are whole numbers that floats hold."""
    exact = conv2d(x.double(), weight.double(), None, stride)
    return float((conv2d(x, weight, None, stride).double() - exact).abs().max())


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
if torch.backends.cpu.get_cpu_capability() != "AVX512":
    raise SystemExit("not to be seen without AVX-512")
x = integers(2, 1, 6, 4)  # two images of one channel; a kernel of (2, 3) leaves one column
weight = integers(5, 2, 3, 1).permute(0, 3, 1, 2)
copied = weight.clone(memory_format=torch.contiguous_format)
assert weight.is_contiguous() and torch.equal(weight, copied)
found = wrong(x, weight, (1, 2)), wrong(x, copied, (1, 2))
others = {
    "stride (2, 2)": wrong(x, weight, (2, 2)),
    "one image": wrong(x[:1], weight, (1, 2)),
    "two columns": wrong(integers(2, 1, 6, 6), weight, (1, 2)),
    "two channels": wrong(integers(2, 2, 6, 4), integers(5, 2, 3, 2).permute(0, 3, 1, 2), (1, 2)),
}
with torch.backends.mkldnn.flags(enabled=False):
    others["without oneDNN"] = wrong(x, weight, (1, 2))
print("strides", weight.stride(), "- largest difference:", found[0])
print("strides", copied.stride(), "- largest difference:", found[1])
print("not affected:", others)
assert found[0] > 10 and found[1] == 0 and not any(others.values())
PYTHON
