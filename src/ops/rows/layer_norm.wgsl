// Layer and group normalization, one workgroup per row of n elements: out = (x - mean) * rstd * weight
// + bias, with mean and rstd = 1 / sqrt(variance + eps) per row as further outputs. Two passes over the
// row: the variance of centered values does not cancel. The mean is summed in parts of itself and from the first element
// on, so that only the variance can overflow, which leaves the bias, as in PyTorch.
// A row belongs to group row % groups; element i of it has channel (row % groups) * channels + i / inner,
// the index of its weight and bias. Layer norm: groups = 1, inner = 1.
#param WG
#include "affine.wgsl"
#include "workgroup_reduce.wgsl"
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;
@group(0) @binding(out_mean) var<storage, read_write> out_mean: array<f32>;
@group(0) @binding(out_rstd) var<storage, read_write> out_rstd: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.n;
  let first = x[base];
  var sum = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    sum += (x[base + i] - first) * params.scale;
  }
  let mean = first + workgroup_sum(lane, sum);
  var square = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    let v = x[base + i] - mean;
    square += v * v;
  }
  let rstd = inverseSqrt(workgroup_sum(lane, square) * params.scale + params.eps);
  if (row >= params.rows) {
    return;
  }
  if (lane == 0u) {
    out_mean[row] = mean;
    out_rstd[row] = rstd;
  }
  let first_channel = (row % params.groups) * params.channels;
  for (var i = lane; i < params.n; i += ${WG}u) {
    out[base + i] = affine((x[base + i] - mean) * rstd, first_channel + i / params.inner);
  }
}
