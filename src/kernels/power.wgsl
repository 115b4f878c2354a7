// Powers. Needs special_floats.wgsl.
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

// 2^(n + r) for |r| <= 1/2, by a least-squares fit at Chebyshev nodes.
fn exp2_of(n: f32, r: f32) -> f32 {
  let power = 1.0 + r * (0.693147207 + r * (0.240226511 + r * (0.0555032721 + r * (0.00961803596 +
              r * (0.00134004322 + r * 0.000154673650)))));
  // By halves, so that only the result can be past the range of floats.
  let half = i32(n) / 2;
  let rest = i32(n) - half;
  return power * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(rest + 127) << 23u);
}

// Of a positive finite base, by its bits.
fn positive_power(base: u32, exponent: f32) -> f32 {
  let log = log2_parts(base);
  const MOST = 8589934592.0;  // with it every base but 1 is past the range
  let y = clamp(exponent, -MOST, MOST);
  let y0 = leading(y);
  let p = y0 * log.x;
  let q = (y - y0) * log.x + y * log.y;
  let n = clamp(round(p + q), -200.0, 200.0);
  return exp2_of(n, clamp((p - n) + q, -0.5, 0.5));
}

// As IEEE 754's pow, at all of its special values.
fn float_power(base: f32, exponent: f32) -> f32 {
  let b = magnitude_bits(base);
  let y = magnitude_bits(exponent);
  if (y == 0u || bitcast<u32>(base) == 0x3f800000u) {
    return 1.0;
  }
  if (max(b, y) > INFINITY_BITS) {
    return nan(base);
  }
  let negative = bitcast<u32>(base) != b;
  let whole = exponent == trunc(exponent);
  let odd = whole && abs(exponent) < 16777216.0 && (i32(exponent) & 1) == 1;
  var magnitude = 0.0;
  if (b == 0u || b == INFINITY_BITS) {
    let grows = (b == INFINITY_BITS) == (bitcast<u32>(exponent) == y);
    magnitude = bitcast<f32>(select(0u, INFINITY_BITS, grows));
  } else if (negative && !whole) {
    return nan(base);
  } else {
    magnitude = positive_power(b, exponent);
  }
  return select(magnitude, -magnitude, negative && odd);
}
