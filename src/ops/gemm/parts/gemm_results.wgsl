// How the results of a matrix product leave: what is done to the sums, and a fragment that gives
//   store_quad(row, quad, value: vec4<f32>)     four neighbouring columns of a row
//   residual_quad(row, quad) -> vec4<f32>       RESIDUAL: what is added to them
// `row` is one of this dispatch; `quad` counts columns by four through all panels, of which the last may have
// fewer columns than that.
#param STORE = gemm_store_rows
#param BIAS = 0 : 0 | 1
#param RESIDUAL = 0 : 0 | 1
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<F4>;
#endif
#include ${STORE}
#include "activation.wgsl"

// `added` is the residual; sums1 are those of the second matrix if GATED.
fn finish_with(row: u32, quad: u32, sums0: F4, sums1: F4, added: F4) {
  var value = sums0;
#if BIAS
  value += bias[quad];
#endif
#if GATED
#if BIAS
  let up = sums1 + bias[quad + params.pair_panels * 16u];
#else
  let up = sums1;
#endif
  value = value / (F4(1.0) + exp(-value)) * up;
#endif
  value += added;
#if ACTIVATION
  value = F4(activated(value.x), activated(value.y), activated(value.z), activated(value.w));
#endif
  store_quad(row, quad, value);
}

fn finish(row: u32, quad: u32, sums0: F4, sums1: F4) {
#if RESIDUAL
  finish_with(row, quad, sums0, sums1, residual_quad(row, quad));
#else
  finish_with(row, quad, sums0, sums1, F4(0.0));
#endif
}
