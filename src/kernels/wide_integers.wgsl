// 64-bit integers in two's complement as vec2<u32>, the low word first: WGSL has none.
fn widen(a: i32) -> vec2<u32> {
  return vec2<u32>(bitcast<u32>(a), bitcast<u32>(a >> 31u));
}

fn wide_of_u32(a: u32) -> vec2<u32> {
  return vec2<u32>(a, 0u);
}

fn low_i32(a: vec2<u32>) -> i32 {
  return bitcast<i32>(a.x);
}

fn low_u32(a: vec2<u32>) -> u32 {
  return a.x;
}

fn saturated_i32(a: vec2<u32>) -> i32 {
  let high = bitcast<i32>(a.y);
  let fits = high == (bitcast<i32>(a.x) >> 31u);
  return select(select(0x7fffffff, i32(-2147483647 - 1), high < 0), bitcast<i32>(a.x), fits);
}

fn wide_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return select(bitcast<i32>(a.y) < bitcast<i32>(b.y), a.x < b.x, a.y == b.y);
}

fn wide_min(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(a, b, wide_less(b, a));
}

fn wide_max(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(a, b, wide_less(a, b));
}

fn wide_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}

fn wide_neg(a: vec2<u32>) -> vec2<u32> {
  return wide_add(~a, vec2<u32>(1u, 0u));
}

fn wide_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn wide_abs(a: vec2<u32>) -> vec2<u32> {
  return select(a, wide_neg(a), bitcast<i32>(a.y) < 0);
}

// The product of two words, from halves of 16 bits.
fn long_product(a: u32, b: u32) -> vec2<u32> {
  let low = vec2<u32>(a & 0xffffu, b & 0xffffu);
  let high = vec2<u32>(a >> 16u, b >> 16u);
  let bottom = low.x * low.y;
  let middle = high.x * low.y + (bottom >> 16u);
  let other = low.x * high.y + (middle & 0xffffu);
  return vec2<u32>((other << 16u) | (bottom & 0xffffu),
                   high.x * high.y + (middle >> 16u) + (other >> 16u));
}

fn wide_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let product = long_product(a.x, b.x);
  return vec2<u32>(product.x, product.y + a.x * b.y + a.y * b.x);
}

fn wide_shift_left(a: vec2<u32>, by: u32) -> vec2<u32> {
  if (by >= 32u) {
    return vec2<u32>(0u, a.x << (by - 32u));
  }
  let carried = select(0u, a.x >> (32u - max(by, 1u)), by > 0u);
  return vec2<u32>(a.x << by, (a.y << by) | carried);
}

// Quotient and remainder of numbers of at most 2^63 without a sign, bit by bit.
struct WideQuotient {
  quotient: vec2<u32>,
  remainder: vec2<u32>,
}

fn wide_divide_unsigned(a: vec2<u32>, b: vec2<u32>) -> WideQuotient {
  var out = WideQuotient(vec2<u32>(), vec2<u32>());
  for (var bit = 0u; bit < 64u; bit++) {
    let at = 63u - bit;
    let next = select(a.x >> at, a.y >> (at - 32u), at >= 32u) & 1u;
    out.remainder = wide_shift_left(out.remainder, 1u) | vec2<u32>(next, 0u);
    out.quotient = wide_shift_left(out.quotient, 1u);
    let r = out.remainder;
    if (r.y > b.y || (r.y == b.y && r.x >= b.x)) {
      out.remainder = wide_sub(r, b);
      out.quotient.x |= 1u;
    }
  }
  return out;
}

fn wide_divide(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let quotient = wide_divide_unsigned(wide_abs(a), wide_abs(b)).quotient;
  return select(quotient, wide_neg(quotient), ((a.y ^ b.y) >> 31u) == 1u);
}

fn wide_floor_divide(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let both = wide_divide_unsigned(wide_abs(a), wide_abs(b));
  if (((a.y ^ b.y) >> 31u) == 0u) {
    return both.quotient;
  }
  let inexact = any(both.remainder != vec2<u32>());
  return wide_neg(wide_add(both.quotient, vec2<u32>(u32(inexact), 0u)));
}

// Wraps, as PyTorch's does; of negative exponents only 1 and -1 have a power that is not 0.
fn wide_power(base: vec2<u32>, exponent: vec2<u32>) -> vec2<u32> {
  let one = vec2<u32>(1u, 0u);
  let odd = (exponent.x & 1u) == 1u;
  if (bitcast<i32>(exponent.y) < 0) {
    let is_unit = all(wide_abs(base) == one);
    return select(vec2<u32>(), select(one, base, odd), is_unit);
  }
  var result = one;
  var square = base;
  for (var bit = 0u; bit < 64u; bit++) {
    if ((select(exponent.x >> bit, exponent.y >> (bit - 32u), bit >= 32u) & 1u) == 1u) {
      result = wide_mul(result, square);
    }
    square = wide_mul(square, square);
  }
  return result;
}

// Rounded to nearest even.
fn wide_to_f32(a: vec2<u32>) -> f32 {
  let magnitude = wide_abs(a);
  let high_zeros = countLeadingZeros(magnitude.y);
  let zeros = select(high_zeros, 32u + countLeadingZeros(magnitude.x), high_zeros == 32u);
  if (zeros == 64u) {
    return 0.0;
  }
  let top = wide_shift_left(magnitude, zeros);
  let mantissa = top.y >> 8u;
  let half = 0x80u;
  let rest = top.y & 0xffu;
  let is_more = rest > half || (rest == half && (top.x != 0u || (mantissa & 1u) == 1u));
  let bits = ((189u - zeros) << 23u) + mantissa + u32(is_more);
  return bitcast<f32>(bits | (a.y & 0x80000000u));
}

// Truncated. What does not fit is the lowest number, as on x86.
fn to_wide(a: f32) -> vec2<u32> {
  let bits = bitcast<u32>(a);
  let exponent = i32((bits >> 23u) & 0xffu) - 150;
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  if (exponent < -23) {
    return vec2<u32>();
  }
  if (exponent > 39) {
    return vec2<u32>(0u, 0x80000000u);
  }
  var magnitude = vec2<u32>(mantissa >> u32(max(-exponent, 0)), 0u);
  if (exponent > 0) {
    magnitude = wide_shift_left(vec2<u32>(mantissa, 0u), u32(exponent));
  }
  return select(magnitude, wide_neg(magnitude), (bits >> 31u) == 1u);
}
