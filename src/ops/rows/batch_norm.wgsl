// out = (x - mean[c]) / sqrt(variance[c] + eps) * weight[c] + bias[c] for x [N, C, inner], one invocation
// per element.
#param WG
#include "affine.wgsl"
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(mean) var<storage, read> mean: array<f32>;
@group(0) @binding(variance) var<storage, read> variance: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

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
