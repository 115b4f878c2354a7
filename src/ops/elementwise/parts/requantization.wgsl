// Elementwise operators on 8-bit integers, in floats.
#include "apart.wgsl"

// a and b are 8-bit integers with scales and zero points, and so is what becomes of a number.
fn dequantized_a(a: f32) -> f32 {
  return (a - params.a_zero_point) * params.a_scale;
}

#if B
fn dequantized_sum(a: f32, b: f32) -> f32 {
  let dequantized_b = (b - params.b_zero_point) * params.b_scale;
  return apart(dequantized_a(a)) + apart(params.alpha * dequantized_b);
}
#endif

fn requantized(x: f32) -> f32 {
  return clamp(round(x * params.inverse_scale) + params.out_zero_point, -128.0, 127.0);
}
