// Functions that WGSL lacks, computes too loosely (its sin and cos promise 11 bits) or leaves open at the edges.
#param LIB = 0 : 0 | exponential | minmax | trigonometry | sigmoid | tanh | gelu | power | division | quantization | requantization  // what is needed of them
#if LIB
#include "special_floats.wgsl"
#endif

#if LIB == exponential
#include "logarithm.wgsl"

// Not every device's exp passes NaN on.
fn exact_exp(x: f32) -> f32 {
  return select(exp(x), x, is_nan(x));
}

// WGSL's own logarithms know no zero and below, and are off by 2^-21 next to 1.
fn exact_log10(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if (magnitude_bits(x) == 0u) {
    return bitcast<f32>(bits | 0xff800000u);  // -inf
  }
  if (bits >= INFINITY_BITS) {
    return select(nan(x), x, bits == INFINITY_BITS);
  }
  let parts = log2_parts(bits);
  return (parts.x + parts.y) * 0.30103;
}
#endif

#if LIB == minmax
// Comparisons by floats would not do: compilers make min and max of a < b ? a : b, which lose NaN on GPUs.
fn is_negative(x: f32) -> bool {
  return bitcast<u32>(x) - 0x80000001u < 0x7f800000u;
}

fn clamped(x: f32, least: f32, most: f32) -> f32 {
  return select(min(max(x, least), most), x, is_nan(x));
}

fn nan_min(a: f32, b: f32) -> f32 {
  return select(min(a, b), a + b, is_nan(a) || is_nan(b));
}

fn nan_max(a: f32, b: f32) -> f32 {
  return select(max(a, b), a + b, is_nan(a) || is_nan(b));
}
#endif

#if LIB == trigonometry
#include "trigonometry.wgsl"
#endif

#if LIB == sigmoid
// Never exponentiates a positive number, so nothing overflows.
fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(select(1.0, e, x < 0.0) / (1.0 + e), x, is_nan(x));
}
#endif

#if LIB == tanh
// The quotient loses relative accuracy near 0, where the series takes over.
fn stable_tanh(x: f32) -> f32 {
  let e = exp(-2.0 * abs(x));
  let quotient = (1.0 - e) / (1.0 + e);
  let z = x * x;
  let series = x * (1.0 + z * (-0.33333334 + z * (0.13333334 + z * (-0.05396825 + z * 0.021869489))));
  return select(select(quotient, -quotient, x < 0.0), series, abs(x) < 0.25);
}
#endif

#if LIB == gelu
// The normal distribution function through erfc (Abramowitz and Stegun, 7.1.26: error 1.5e-7).
fn gelu(x: f32) -> f32 {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let series =
      t * (0.254829592 +
           t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let tail = 0.5 * series * exp(-z * z);
  return x * select(1.0 - tail, tail, x < 0.0);
}

fn gelu_tanh(x: f32) -> f32 {
  let u = 1.5957691 * (x + 0.044715 * x * x * x);
  let e = exp(-abs(u));
  return x * select(1.0, e, u < 0.0) / (1.0 + e);
}
#endif

#if LIB == power
#include "logarithm.wgsl"
#include "power.wgsl"
#endif

#if LIB == division
// WGSL's own quotient is good for divisors up to 2^126.
fn quotient(a: f32, b: f32) -> f32 {
  let scale = select(1.0, 0x1p-64f, abs(b) > 0x1p+125f);
  return (a * scale) / (b * scale);
}

// a - whole * b without rounding, for whole numbers below 2^23: factors of 12 bits have exact products.
fn exact_remainder(a: f32, b: f32, whole: f32) -> f32 {
  let whole_high = trunc(whole / 4096.0) * 4096.0;
  let whole_low = whole - whole_high;
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let b_low = b - b_high;
  return a - whole_high * b_high - whole_high * b_low - whole_low * b_high - whole_low * b_low;
}

// False for NaN.
fn has_remainder(whole: f32) -> bool {
  return magnitude_bits(whole) < 0x4b000000u;  // 2^23
}

// The floor of the exact quotient, as PyTorch has it: 0.5 // 0.1 is 4 in f32.
fn floor_divide(a: f32, b: f32) -> f32 {
  let whole = round(quotient(a, b));
  if (magnitude_bits(a) == INFINITY_BITS && b != 0.0) {
    return nan(a);  // as the remainder is
  }
  if (b == 0.0 || !has_remainder(whole)) {
    return floor(quotient(a, b));
  }
  var rest = a;
  if (whole != 0.0) {
    rest = exact_remainder(a, b, whole);
  }
  return whole - select(0.0, 1.0, rest != 0.0 && (rest < 0.0) != (b < 0.0));
}

// The correctly rounded quotient, truncated: a GPU's own quotient may be one bit short of a whole number.
fn trunc_divide(a: f32, b: f32) -> f32 {
  let whole = round(quotient(a, b));
  if (b == 0.0 || whole == 0.0 || !has_remainder(whole)) {
    return trunc(quotient(a, b));
  }
  let rest = exact_remainder(a, b, whole);
  let beyond = rest != 0.0 && ((rest < 0.0) != (b < 0.0)) == (whole > 0.0);
  let magnitude = abs(whole);
  let spacing = magnitude - bitcast<f32>(bitcast<u32>(magnitude) - 1u);
  let result = magnitude - select(0.0, 1.0, beyond && abs(rest) > 0.5 * spacing * abs(b));
  return select(result, -result, whole < 0.0);
}

fn floor_divide_int(a: i32, b: i32) -> i32 {
  let quotient = a / b;
  let inexact = a - quotient * b != 0;
  return select(quotient, quotient - 1, inexact && ((a < 0) != (b < 0)));
}
#endif

#if LIB == quantization
// 1 / x, correctly rounded where WGSL's own quotient may be off: q * x less 1 is known exactly, from halves of 12
// bits each.
fn reciprocal(x: f32) -> f32 {
  let q = 1.0 / x;
  let q_high = bitcast<f32>(bitcast<u32>(q) & 0xfffff000u);
  let x_high = bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
  let q_low = q - q_high;
  let x_low = x - x_high;
  let rest = ((1.0 - q_high * x_high) - q_high * x_low - q_low * x_high) - q_low * x_low;
  return select(q, q + q * rest, abs(x) > 0x1p-60f && abs(x) < 0x1p+60f);
}

#include "apart.wgsl"
#endif
