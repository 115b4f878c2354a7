// out[row] = x[row] * rsqrt(mean(x[row]^2) + eps) * weight, one workgroup per row (Zhang & Sennrich 2019).
#param WG
#param T : f32 | vec4<f32>  // the latter where rows are whole vectors
#param VEC : 1 | 4          // elements in T
#include "workgroup_reduce.wgsl"
// n in units of T; scale = 1 / row length
#params
@group(0) @binding(x) var<storage, read> x: array<${T}>;
@group(0) @binding(weight) var<storage, read> weight: array<${T}>;
@group(0) @binding(out) var<storage, read_write> out: array<${T}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.n;
  var square = 0.0;
  for (var i = lane; i < params.n; i += ${WG}u) {
    let v = x[base + i];
#if VEC == 4
    square += dot(v, v);
#else
    square += v * v;
#endif
  }
  let factor = inverseSqrt(workgroup_sum(lane, square) * params.scale + params.eps);
  if (row >= params.rows) {
    return;
  }
  for (var i = lane; i < params.n; i += ${WG}u) {
    out[base + i] = x[base + i] * factor * weight[i];
  }
}
