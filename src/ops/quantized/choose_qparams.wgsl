// Scale and zero point of each row of n elements, so that its range and 0 fit the integers from `lowest` to
// `highest`; one workgroup per row.
#param WG
// The zero point is in the middle; as many steps above the lowest integer as fit below 0; or that counted from the
// end of the range where rounding does less.
#param MAPPING : symmetric | asymmetric | lesser_error
#include "workgroup_reduce.wgsl"
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(scales) var<storage, read_write> scales: array<f32>;
@group(0) @binding(zero_points) var<storage, read_write> zero_points: array<i32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.n;
  var above = 0.0;
  var below = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    above = max(above, x[base + i]);
    below = max(below, -x[base + i]);
  }
  let top = workgroup_max(lane, above);
  let bottom = workgroup_max(lane, below);
  if (row >= params.rows || lane != 0u) {
    return;
  }
  let steps = params.highest - params.lowest;
#if MAPPING == symmetric
  scales[row] = max(max(top, bottom) / (steps / 2.0), params.least_scale);
  zero_points[row] = i32((params.lowest + params.highest + 1.0) / 2.0);
#else
  let scale = max((top + bottom) / steps, params.least_scale);
  scales[row] = scale;
#if MAPPING == asymmetric
  let zero_point = params.lowest + round(bottom / scale);
#else
  let first = params.lowest - bottom / scale;
  let last = params.highest + top / scale;
  let zero_point = round(select(params.highest - top / scale, params.lowest + bottom / scale, first + last > 0.0));
#endif
  zero_points[row] = i32(clamp(zero_point, params.lowest, params.highest));
#endif
}
