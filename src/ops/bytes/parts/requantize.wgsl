// A sum of products of 8-bit integers as a result in 8 bits.
#param BIAS = 0 : 0 | 1
#param RELU = 0 : 0 | 1
//   x_scale
//   inverse_scale   1 / the results' scale
//   out_zero_point
@group(0) @binding(scales) var<storage, read> scales: array<f32>;
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<f32>;
#endif
#include "apart.wgsl"

fn requantized(sum: i32, output: u32, scale: u32) -> i32 {
  var value = apart(f32(sum) * (scales[scale] * params.x_scale));
#if BIAS
  value += bias[output];
#endif
#if RELU
  value = max(value, 0.0);
#endif
  return i32(clamp(round(value * params.inverse_scale) + params.out_zero_point, -128.0, 127.0));
}
