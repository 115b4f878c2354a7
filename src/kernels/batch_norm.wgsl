// out = (x - mean[c]) / sqrt(variance[c] + eps) * weight[c] + bias[c] for x [N, C, inner], one invocation
// per element.
#param WG
#param PARAMS_BINDING
#include "affine.wgsl"
struct Params { count: u32, inner: u32, channels: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(${PARAMS_BINDING}) var<uniform> params: Params;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  let channel = (i / params.inner) % params.channels;
  out[i] = affine((x[i] - mean[channel]) * inverseSqrt(variance[channel] + params.eps), channel);
}
