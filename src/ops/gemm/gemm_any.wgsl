// Matrix product for what the fast kernels do not take: depths that are not whole vectors, scale groups that
// are not whole words. One invocation per row and four neighbouring columns, element by element.
#param ELEMENTS      // of a word
#param MATS : 1 | 2  // 2 if GATED
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

// Element k of four neighbouring output rows whose words start at `base`.
fn element(base: u32, k: u32) -> F4 {
  let words = weights[base + k / ${ELEMENTS}u * 16u];
#if WEIGHT == f32
  return bitcast<F4>(words);
#elif WEIGHT == f16
  return half(words, k % 2u);
#elif WEIGHT == q8
  return F4(bitcast<vec4<i32>>(words << U4(24u - k % 4u * 8u)) >> U4(24u));
#elif WEIGHT == q4
  return F4(vec4<i32>((words >> U4(k % 8u * 4u)) & U4(15u)) - vec4<i32>(8));
#endif
}

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) column: u32) {
  let index = wid.y * grid.x + wid.x;
  if (index >= params.blocks * params.rows) {
    return;
  }
  let block = index / params.rows;
  let row = index - block * params.rows;
  let row_of_x = find_row(row);
#repeat M MATS
  let panel${M} = block + params.pair_panels * ${M}u;
  let base${M} = panel${M} * params.words * 16u + column;
  var sum${M} = F4(0.0);
#endrepeat
  var square = 0.0;
  for (var k = 0u; k < params.k; k++) {
    let raw = row_element(row_of_x, k);
#if NORM
    square += raw * raw;
    let e = raw * norm_weight[k];
#else
    let e = raw;
#endif
#repeat M MATS
#if SCALES
    sum${M} += e * element(base${M}, k) *
               scale_quad(panel${M}, column, k / params.group_size);
#else
    sum${M} += e * element(base${M}, k);
#endif
#endrepeat
  }
#if NORM
  let norm = inverseSqrt(square / f32(params.k) + params.eps);
#else
  let norm = 1.0;
#endif
  let quad = (params.first_panel + block) * 16u + column;
#if GATED
  finish(row, quad, sum0 * norm, sum1 * norm);
#else
  finish(row, quad, sum0 * norm, F4(0.0));
#endif
}
