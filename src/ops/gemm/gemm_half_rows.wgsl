// Rows in f16 for gemm_matrices, one workgroup per row: out[r, k] = norm(r) * x[r, k] * norm_weight[k], zero from K
// to the end of the last 32 elements.
#param WG
#requires f16
#include "half.wgsl"
#if NORM
#include "workgroup_reduce.wgsl"
#endif
alias F4 = vec4<f32>;
//   k             elements per row,
//   padded_quads    of out, by four
#params
#include "gemm_rows.wgsl"
#include "elementwise_math.wgsl"
@group(0) @binding(out) var<storage, read_write> out: array<vec4<f16>>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let from_row = find_row(min(row, params.rows - 1u));
  let quads = params.k / 4u;
#if NORM
  var square = 0.0;
  for (var i = lane; i < quads; i += ${WG}u) {
    let value = row_quad(from_row, i);
    square += dot(value, value);
  }
  let factor = inverseSqrt(workgroup_sum(lane, square) / f32(params.k) + params.eps);
#endif
  if (row >= params.rows) {
    return;
  }
  for (var i = lane; i < params.padded_quads; i += ${WG}u) {
    var value = F4(0.0);
    if (i < quads) {
#if NORM
      value = row_quad(from_row, i) * (factor * norm_weight[i]);
#else
      value = row_quad(from_row, i);
#endif
    }
    out[row * params.padded_quads + i] = vec4<f16>(within_half(value));
  }
}
