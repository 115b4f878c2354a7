// sin and cos of any f32. Needs special_floats.wgsl.
// The polynomials are least-squares fits at Chebyshev nodes, in x^2, over [-pi/4, pi/4].
fn sin_polynomial(r: f32) -> f32 {
  let z = r * r;
  return r * (1.0 + z * (-0.16666664 + z * (0.0083327 + z * -0.00019577)));
}

fn cos_polynomial(r: f32) -> f32 {
  let z = r * r;
  return 1.0 - 0.5 * z + z * z * (0.041666639 + z * (-0.00138882222 + z * 0.0000245337042));
}

// The upper 32 bits of a product.
fn high_product(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  return a1 * b1 + (middle >> 16u) + ((a0 * b1 + (middle & 0xffffu)) >> 16u);
}

// x = value + quadrant * pi / 2, |value| <= pi / 4.
struct Reduced {
  value: f32,
  quadrant: i32,
}

// Of a finite x with |x| >= 2^-7, in whole numbers (Payne & Hanek 1983): x is m * 2^e with m of 24 bits, and of 2 / pi
// only those 96 bits count that are neither multiples of four turns for this e nor too small: the product's first two
// bits are the quadrant, the others the fraction of one.
fn reduce(x: f32) -> Reduced {
  // 32 zeros and the first 224 bits of 2 / pi = 0.6366.. (mpmath: floor(2 / pi * 2^224)).
  var bits = array(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu);
  let m = (bitcast<u32>(x) & 0x7fffffu) | 0x800000u;
  let first = (magnitude_bits(x) >> 23u) - 120u;  // bit of the table: e + 30
  let word = first / 32u;
  let left = first % 32u;
  // Four words of the table shifted left, of which three remain; a shift by 32 is none in WGSL.
  let w0 = (bits[word] << left) | ((bits[word + 1u] >> 1u) >> (31u - left));
  let w1 = (bits[word + 1u] << left) | ((bits[word + 2u] >> 1u) >> (31u - left));
  let w2 = (bits[word + 2u] << left) | ((bits[word + 3u] >> 1u) >> (31u - left));
  let low = m * w1 + high_product(m, w2);
  let high = m * w0 + high_product(m, w1) + u32(low < m * w1);

  // The fraction of a quadrant, -1/2 to 1/2, as a sign and 64 bits, and the quadrant next to it.
  let past_half = (high & 0x20000000u) != 0u;
  let flip = select(0u, 0xffffffffu, past_half);
  let f0 = ((high << 2u) | (low >> 30u)) ^ flip;
  let f1 = (low << 2u) ^ flip;  // less one unit of 2^-64
  let zeros = min(countLeadingZeros(f0), 31u);
  let digits = (f0 << zeros) | ((f1 >> 1u) >> (31u - zeros));
  let fraction = f32(digits) * bitcast<f32>((95u - zeros) << 23u);  // digits * 2^-(32 + zeros)
  let negative = past_half != (x < 0.0);
  let value = fraction * 1.57079633;
  let quadrant = i32((high >> 30u) + u32(past_half));
  return Reduced(select(value, -value, negative), select(quadrant, -quadrant, x < 0.0));
}

fn turned(r: f32, quadrant: i32) -> f32 {
  let magnitude = select(sin_polynomial(r), cos_polynomial(r), (quadrant & 1) == 1);
  return select(magnitude, -magnitude, (quadrant & 2) == 2);
}

// sin of x + quarters * pi / 2.
fn sin_from(x: f32, quarters: i32) -> f32 {
  if (magnitude_bits(x) >= INFINITY_BITS) {
    return nan(x);
  }
  if (abs(x) < 0.78539816) {
    return turned(x, quarters);
  }
  let r = reduce(x);
  return turned(r.value, r.quadrant + quarters);
}

fn exact_sin(x: f32) -> f32 {
  return sin_from(x, 0);
}

fn exact_cos(x: f32) -> f32 {
  return sin_from(x, 1);
}
