// How the results of a matrix product leave: what is done to the sums, and a fragment that gives
//   store_quad(row, quad, value: vec4<f32>)     four neighbouring columns of a row
//   residual_quad(row, quad) -> vec4<f32>       RESIDUAL: what is added to them
// `row` is one of this dispatch; `quad` counts columns by four through all panels, of which the last may have
// fewer columns than that.
#param STORE = gemm_store_rows
#param BIAS = 0 : 0 | 1
#param RESIDUAL = 0 : 0 | 1
#param LOWEST = 0 : 0 | 1   // smaller results become params.lowest
#param HIGHEST = 0 : 0 | 1  // larger ones params.highest; NaN stays
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<F4>;
#endif
#include ${STORE}

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
#if LOWEST
  value = select(value, F4(params.lowest), value < F4(params.lowest));
#endif
#if HIGHEST
  value = select(value, F4(params.highest), value > F4(params.highest));
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
