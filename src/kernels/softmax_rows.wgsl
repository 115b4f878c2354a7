// Softmax or log-softmax of contiguous rows of n elements, one workgroup per row: maximum, then the sum of
// exp(x - maximum), then the result. A row of -inf only has no maximum to subtract: NaN, as in PyTorch.
// Parameters: WG, FOLD, LOG (1: log-softmax).
#include "workgroup_reduce.wgsl"
struct Params { rows: u32, n: u32, no_maximum: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const LOWEST: f32 = -0x1.fffffep+127f;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.n;
  var part = LOWEST;
  var seen = 0.0;  // of elements above -inf
  for (var i = lane; i < params.n; i += ${WG}u) {
    let v = x[base + i];
    part = max(part, v);
    seen = select(seen, 1.0, v >= LOWEST);
  }
  let top = workgroup_max(lane, part);
  let any_seen = workgroup_max(lane, seen);
  var sum = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    sum += exp(x[base + i] - top);
  }
  sum = workgroup_sum(lane, sum);
  if (row >= params.rows) {
    return;
  }
#if LOG
  let log_sum = log(sum);
#endif
  for (var i = lane; i < params.n; i += ${WG}u) {
#if LOG
    out[base + i] = select(params.no_maximum, x[base + i] - top - log_sum, any_seen > 0.0);
#else
    out[base + i] = select(params.no_maximum, exp(x[base + i] - top) / sum, any_seen > 0.0);
#endif
  }
}
