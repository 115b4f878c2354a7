// Cross entropy of each row of n logits with its label, times a scale, and its gradient by the logits: softmax less
// one at the label. Rows of a negative label give zeros, whatever they hold. One workgroup per row.
#param WG
#include "special_floats.wgsl"
#include "softmax_kind.wgsl"
#include "workgroup_reduce.wgsl"
#params
@group(0) @binding(logits) var<storage, read> logits: array<f32>;
@group(0) @binding(labels) var<storage, read> labels: array<i32>;
@group(0) @binding(losses) var<storage, read_write> losses: array<f32>;
@group(0) @binding(gradient) var<storage, read_write> gradient: array<f32>;

// log(sum of exp), as numbers past all bounds have it: a row with NaN has none, one with +inf is infinite.
fn log_sum_exp(top: f32, sum: f32, kind: u32, has_nan: bool) -> f32 {
  if (has_nan) {
    return nan(sum);
  }
  let infinite = bitcast<f32>(select(0xff800000u, INFINITY_BITS, kind == SPOILED));
  return select(infinite, top + log(sum), kind == USUAL);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.n;
  let label = labels[min(row, params.rows - 1u)];
  var part = LOWEST;
  var part_kind = EMPTY;
  var part_nan = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    let v = logits[base + i];
    part = max(part, v);
    part_kind = max(part_kind, kind_of(v));
    part_nan = max(part_nan, select(0.0, 1.0, is_nan(v)));
  }
  let top = workgroup_max(lane, part);
  let kind = u32(workgroup_max(lane, f32(part_kind)));
  let has_nan = workgroup_max(lane, part_nan) > 0.0;
  var sum = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    sum += exp(logits[base + i] - top);
  }
  sum = workgroup_sum(lane, sum);
  if (row >= params.rows) {
    return;
  }
  let counts = label >= 0;
  // A label past the end cannot be reported from here: it makes NaN of its row.
  let known = u32(label) < params.n;
  for (var i = lane; i < params.n; i += ${WG}u) {
    let chosen = select(0.0, 1.0, i == u32(label));
    let slope = (normalized(logits[base + i] - top, sum, 0.0, kind) - chosen) * params.scale;
    gradient[base + i] = select(0.0, select(nan(slope), slope, known), counts);
  }
  if (lane == 0u) {
    let picked = logits[base + min(u32(label), params.n - 1u)];
    let loss = (log_sum_exp(top, sum, kind, has_nan) - picked) * params.scale;
    losses[row] = select(0.0, select(nan(loss), loss, known), counts);
  }
}
