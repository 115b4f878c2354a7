// Softmax or log-softmax of contiguous rows of n elements, one workgroup per row: maximum, then the sum of
// exp(x - maximum), then the result. Rows of nothing but -inf, and those with NaN or +inf, are NaN, as in PyTorch.
#param WG
#include "special_floats.wgsl"
#include "softmax_kind.wgsl"
#include "workgroup_reduce.wgsl"
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.n;
  var part = LOWEST;
  var part_kind = EMPTY;
  for (var i = lane; i < params.n; i += ${WG}u) {
    let v = x[base + i];
    part = max(part, v);
    part_kind = max(part_kind, kind_of(v));
  }
  let top = workgroup_max(lane, part);
  let kind = u32(workgroup_max(lane, f32(part_kind)));
  var sum = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    sum += exp(x[base + i] - top);
  }
  sum = workgroup_sum(lane, sum);
  if (row >= params.rows) {
    return;
  }
  let log_sum = log(sum);
  for (var i = lane; i < params.n; i += ${WG}u) {
    out[base + i] = normalized(x[base + i] - top, sum, log_sum, kind);
  }
}
