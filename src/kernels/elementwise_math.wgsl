// Functions that WGSL lacks or computes too loosely (its sin and cos promise 11 bits). LIB names the
// one that is needed.
fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

#if LIB == exponential
// Not every device's exp passes NaN on, nor its log2 knows zero and below.
fn exact_exp(x: f32) -> f32 {
  return select(exp(x), x, is_nan(x));
}

fn exact_log10(x: f32) -> f32 {
  if (x > 0.0) {
    return log2(x) * 0.30103;
  }
  return select(-1.0 / abs(x), sqrt(x), x != 0.0);
}
#endif

#if LIB == minmax
fn nan_min(a: f32, b: f32) -> f32 {
  return select(min(a, b), a + b, is_nan(a) || is_nan(b));
}

fn nan_max(a: f32, b: f32) -> f32 {
  return select(max(a, b), a + b, is_nan(a) || is_nan(b));
}
#endif

#if LIB == trigonometry
// x mod pi/2 in three parts of pi/2, the first two short enough to be exact up to kFar; then the
// polynomials are least-squares fits at Chebyshev nodes, in x^2, over [-pi/4, pi/4].
const kFar = 1e5;

struct Reduced {
  value: f32,
  quadrant: i32,
}

fn reduce(x: f32) -> Reduced {
  let turns = round(x * 0.63661977);
  var r = fma(turns, -1.5703125, x);
  r = fma(turns, -0.00048351288, r);
  r = fma(turns, -3.1391647e-07, r);
  return Reduced(r, i32(turns));
}

fn sin_polynomial(r: f32) -> f32 {
  let z = r * r;
  return r + r * z * (-0.16666664 + z * (0.0083327 + z * -0.00019577));
}

fn cos_polynomial(r: f32) -> f32 {
  let z = r * r;
  return 1.0 - 0.5 * z + z * z * (0.041666639 + z * (-0.00138882222 + z * 0.0000245337042));
}

fn turn(r: f32, quadrant: i32) -> f32 {
  let magnitude = select(sin_polynomial(r), cos_polynomial(r), (quadrant & 1) == 1);
  return select(magnitude, -magnitude, (quadrant & 2) == 2);
}

fn exact_sin(x: f32) -> f32 {
  if (abs(x) > kFar) {
    return sin(x);
  }
  let r = reduce(x);
  return turn(r.value, r.quadrant);
}

fn exact_cos(x: f32) -> f32 {
  if (abs(x) > kFar) {
    return cos(x);
  }
  let r = reduce(x);
  return turn(r.value, r.quadrant + 1);
}
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
  let series = x + x * z * (-0.33333334 + z * (0.13333334 + z * (-0.05396825 + z * 0.021869489)));
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
fn integer_power(base: i32, exponent: i32) -> i32 {
  if (exponent < 0) {
    let sign = select(1, base, (exponent & 1) == 1);
    return select(0, sign, base == 1 || base == -1);
  }
  var result = 1;
  var square = base;
  for (var e = exponent; e > 0; e >>= 1u) {
    if ((e & 1) == 1) {
      result *= square;
    }
    square *= square;
  }
  return result;
}

fn whole_power(base: f32, exponent: f32) -> f32 {
  var result = 1.0;
  var square = base;
  for (var e = u32(abs(exponent)); e > 0u; e >>= 1u) {
    if ((e & 1u) == 1u) {
      result *= square;
    }
    square *= square;
  }
  return select(result, 1.0 / result, exponent < 0.0);
}

// Negative bases need whole exponents; WGSL's pow knows none.
fn float_power(base: f32, exponent: f32) -> f32 {
  if (exponent == trunc(exponent) && abs(exponent) <= 256.0) {
    return whole_power(base, exponent);
  }
  if (base == 0.0) {
    return select(0.0, 1.0 / abs(base), exponent < 0.0);
  }
  if (base < 0.0) {
    let odd = fract(abs(exponent) * 0.5) != 0.0;
    let magnitude = pow(-base, exponent);
    let whole = select(magnitude, -magnitude, odd);
    return select(sqrt(base), whole, exponent == trunc(exponent));
  }
  return pow(base, exponent);
}
#endif

#if LIB == division
// a - whole * b without rounding, for whole numbers below 2^23: factors of 12 bits have exact products.
fn exact_remainder(a: f32, b: f32, whole: f32) -> f32 {
  let whole_high = trunc(whole / 4096.0) * 4096.0;
  let whole_low = whole - whole_high;
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let b_low = b - b_high;
  return a - whole_high * b_high - whole_high * b_low - whole_low * b_high - whole_low * b_low;
}

// The floor of the exact quotient, as PyTorch has it: 0.5 // 0.1 is 4 in f32.
fn floor_divide(a: f32, b: f32) -> f32 {
  let whole = round(a / b);
  if (b == 0.0 || !(abs(whole) < 8388608.0)) {
    return floor(a / b);
  }
  var rest = a;
  if (whole != 0.0) {
    rest = exact_remainder(a, b, whole);
  }
  return whole - select(0.0, 1.0, rest != 0.0 && (rest < 0.0) != (b < 0.0));
}

// The correctly rounded quotient, truncated: a GPU's own quotient may be one bit short of a whole number.
fn trunc_divide(a: f32, b: f32) -> f32 {
  let whole = round(a / b);
  if (b == 0.0 || whole == 0.0 || !(abs(whole) < 8388608.0)) {
    return trunc(a / b);
  }
  let rest = exact_remainder(a, b, whole);
  let beyond = rest != 0.0 && ((rest < 0.0) != (b < 0.0)) == (whole > 0.0);
  let spacing = abs(whole) - bitcast<f32>(bitcast<u32>(abs(whole)) - 1u);
  return whole - select(0.0, sign(whole), beyond && abs(rest) > 0.5 * spacing * abs(b));
}

fn floor_divide_int(a: i32, b: i32) -> i32 {
  let quotient = a / b;
  let inexact = a - quotient * b != 0;
  return select(quotient, quotient - 1, inexact && ((a < 0) != (b < 0)));
}
#endif
