// Sums of products of 8-bit integers as results in 8 bits.
#param SUMS : i32 | vec4<i32>  // of one output, or of four neighbours
#param BIAS = 0 : 0 | 1
//   x_scale
//   inverse_scale   1 / the results' scale
//   out_zero_point
//   lowest          result
#if SUMS == i32
alias Reals = f32;
alias Words = u32;
#else
alias Reals = vec4<f32>;
alias Words = vec4<u32>;
#endif
@group(0) @binding(scales) var<storage, read> scales: array<Reals>;
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<Reals>;
#endif

// The outputs' number, and that of their scales.
fn requantized(sums: ${SUMS}, output: u32, scale: u32) -> ${SUMS} {
  // The product is rounded before anything is added (apart.wgsl).
  let product = Reals(sums) * (scales[scale] * params.x_scale);
  var value = bitcast<Reals>(bitcast<Words>(product) + Words(params.count >> 31u));
#if BIAS
  value += bias[output];
#endif
  let result = round(value * params.inverse_scale) + Reals(params.out_zero_point);
  return ${SUMS}(clamp(result, Reals(params.lowest), Reals(127.0)));
}
