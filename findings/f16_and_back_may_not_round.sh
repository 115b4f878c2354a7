#!/usr/bin/env bash
# Expected: in WGSL f32(f16(x)) is x rounded to f16, so that x - f32(f16(x)) is what rounding lost and f16(x) with f16 of
# that is x in two parts, as in papers on products of f16 that keep f32's precision.
#
# So: the difference is 0 on Mesa's lavapipe, through Dawn: the driver's compiler takes a conversion there and back for
# nothing. Likewise n * a + n * b in f16 becomes n * (a + b), of which the rounding is another, and with Mesa 25.0 so does
# fma(n, a, n * b). Rounding among the bits, (bits + 0x1000) & 0xffffe000, cannot be taken away.
#
# Why it matters: the low halves are zeros, and results that look right have 11 bits.
#
# Needs a Vulkan driver with f16: Debian's mesa-vulkan-drivers (lavapipe, a software adapter) of bookworm-backports.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile wgpudawn==0.32.0.4 numpy
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import wgpudawn as wgpu

SHADER = """
enable f16;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<f32>;

@compute @workgroup_size(1)
fn main() {
    let v = x[0];
    found[0] = v - f32(f16(v));
    found[1] = v - bitcast<f32>((bitcast<u32>(v) + 0x1000u) & 0xffffe000u);
    let n = f16(x[1]);
    let a = f16(x[2]);
    let b = f16(x[3]);
    found[2] = f32(n * a + n * b);
    found[3] = f32(fma(n, a, n * b));
}
"""
# n * a is exact in f16, and a + b is not: it matters which is rounded.
GIVEN = np.array([0.1, 5, 0.09375, 0.000125], np.float32)

adapter = wgpu.gpu.request_adapter_sync()
device = adapter.request_device_sync(required_features=["shader-f16"])
print("wgpudawn", version("wgpudawn"), "on", adapter.info["device"], adapter.info["description"])
usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
buffers = [
    device.create_buffer_with_data(data=GIVEN, usage=usage),
    device.create_buffer(size=16, usage=usage),
]
shader = device.create_shader_module(code=SHADER)
pipeline = device.create_compute_pipeline(
    layout="auto", compute={"module": shader, "entry_point": "main"}
)
group = device.create_bind_group(
    layout=pipeline.get_bind_group_layout(0),
    entries=[{"binding": i, "resource": {"buffer": b}} for i, b in enumerate(buffers)],
)
encoder = device.create_command_encoder()
compute = encoder.begin_compute_pass()
compute.set_pipeline(pipeline)
compute.set_bind_group(0, group)
compute.dispatch_workgroups(1)
compute.end()
device.queue.submit([encoder.finish()])
lost, by_bits, factored, fused = np.frombuffer(device.queue.read_buffer(buffers[1]), np.float32)
v, n, a, b = GIVEN
wanted = v - np.float32(np.float16(v))
print("x - f32(f16(x)):", lost, "- by its bits:", by_bits, "- numpy:", wanted)
halves = [np.float16(value) for value in (n, a, b)]
apart = halves[0] * halves[1] + halves[0] * halves[2]
together = halves[0] * (halves[1] + halves[2])
print("n * a + n * b:", factored, "- with fma:", fused, "- numpy:", apart, "- n * (a + b):", together)
assert lost == 0 and by_bits == wanted != 0
assert factored == fused == together != apart
PYTHON
