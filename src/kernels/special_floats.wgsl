// NaN and infinities by their bits: WGSL lets compilers assume that there are none, so that comparisons and min, max,
// exp of a NaN give one thing here and another there, and has no literal for them.
const INFINITY_BITS = 0x7f800000u;

// A float's bits without the sign: ordered as the magnitudes are, NaN above all.
fn magnitude_bits(x: f32) -> u32 {
  return bitcast<u32>(x) & 0x7fffffffu;
}

fn is_nan(x: f32) -> bool {
  return magnitude_bits(x) > INFINITY_BITS;
}

// `like` is any number that is not known to the compiler.
fn nan(like: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(like) | 0x7fc00000u);
}
