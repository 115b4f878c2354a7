// Rows of x in f16 for gemm_matrices, one workgroup per row: out[r, k] = norm(r) * x[r, k] * norm_weight[k], zero
// from K to the end of the last 32 elements.
#param WG
#param NORM : 0 | 1  // norm(r) = 1 / sqrt(mean(x[r]^2) + eps), else both factors are 1
#requires f16
#include "half.wgsl"
#if NORM
#include "workgroup_reduce.wgsl"
#endif
// quads: of four elements, per row
#params
@group(0) @binding(x) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(out) var<storage, read_write> out: array<vec4<f16>>;
#if NORM
@group(0) @binding(norm_weight) var<storage, read> norm_weight: array<vec4<f32>>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let base = min(row, params.rows - 1u) * params.quads;
#if NORM
  var square = 0.0;
  for (var i = lane; i < params.quads; i += ${WG}u) {
    let value = x[base + i];
    square += dot(value, value);
  }
  let factor = inverseSqrt(workgroup_sum(lane, square) / f32(params.quads * 4u) + params.eps);
#endif
  if (row >= params.rows) {
    return;
  }
  for (var i = lane; i < params.padded_quads; i += ${WG}u) {
    var value = vec4<f32>(0.0);
    if (i < params.quads) {
#if NORM
      value = x[base + i] * (factor * norm_weight[i]);
#else
      value = x[base + i];
#endif
    }
    out[row * params.padded_quads + i] = vec4<f16>(within_half(value));
  }
}
