#!/usr/bin/env bash
# Expected: x != x finds a NaN in a WGSL shader, as in every language with IEEE 754 floats.
#
# So: it is false, also for a NaN that comes from memory, and through both implementations:
# wgpu-native (Naga) and Dawn (Tint). WGSL lets compilers assume that there is none. Looking at the
# bits is right.
#
# Why it matters: isnan guards written this way compile, run and guard nothing. (bits & 0x7fffffff)
# > 0x7f800000 does.
#
# Needs a Vulkan driver: Debian's mesa-vulkan-drivers (lavapipe, a software adapter) will do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile wgpu==0.32.0 wgpudawn==0.32.0.4 numpy
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import importlib
from importlib.metadata import version

import numpy as np

SHADER = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(1)
fn main() {
    let v = x[0];
    found[0] = u32(v != v);
    found[1] = u32((bitcast<u32>(v) & 0x7fffffff) > 0x7f800000);
}
"""


def found(library):
    """Whether the shader's two ways find a NaN."""
    wgpu = importlib.import_module(library)
    adapter = wgpu.gpu.request_adapter_sync()
    device = adapter.request_device_sync()
    print(library, version(library), "on", adapter.info["device"])
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
    buffers = [
        device.create_buffer_with_data(data=np.array([np.nan], np.float32), usage=usage),
        device.create_buffer(size=8, usage=usage),
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
    return [bool(f) for f in np.frombuffer(device.queue.read_buffer(buffers[1]), np.uint32)]


for library in ("wgpu", "wgpudawn"):
    by_comparison, by_bits = found(library)
    print("    x != x:", by_comparison, "- by its bits:", by_bits)
    assert not by_comparison
    assert by_bits
PYTHON
