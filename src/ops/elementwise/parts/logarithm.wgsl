// Logarithms of more digits than f32 has.
// The leading 12 bits: products of two such numbers are exact. By bits, so that no compiler simplifies what is left.
fn leading(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// log2 of the positive finite float with these bits, subnormal ones included, in two parts: the first of 12 bits, the
// sum good to 2^-31 of it. log(m) = 2 atanh((m - 1) / (m + 1)), m within [sqrt(1/2), sqrt(2)].
fn log2_parts(bits: u32) -> vec2<f32> {
  let shift = max(countLeadingZeros(bits), 8u) - 8u;  // of a subnormal
  let mantissa = (bits << shift) & 0x7fffffu;
  let large = mantissa > 0x3504f3u;
  let m = bitcast<f32>(mantissa | select(0x3f800000u, 0x3f000000u, large));
  let e = f32(i32(max(bits >> 23u, 1u)) - i32(shift) - select(127, 126, large));
  // s = s0 + s1 = f / d
  let f = m - 1.0;
  let d0 = leading(m + 1.0);
  let d1 = m - (d0 - 1.0);
  let s0 = leading(f / (m + 1.0));
  let s1 = ((f - s0 * d0) - s0 * d1) / (m + 1.0);
  let s = s0 + s1;
  let z = s * s;
  // A least-squares fit at Chebyshev nodes of (atanh(s) / s - 1) / s^2.
  let series = s * z * (0.33333333 + z * (0.20000062 + z * (0.14275346 + z * 0.11666599)));
  // times 2 / log(2) = 2.884765625 + 0.0006244568
  let p = s0 * 2.884765625;
  let high = leading(e + p);
  return vec2<f32>(high, ((e - high) + p) + (s0 * 0.0006244568 + 2.88539008 * (s1 + series)));
}
