// Powers. Needs special_floats.wgsl and logarithm.wgsl.
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
