// Which rows have a softmax. Needs special_floats.wgsl.
#param LOG : 0 | 1  // log-softmax
const LOWEST: f32 = -0x1.fffffep+127f;

// The kind of a row is the highest of its elements'.
const EMPTY = 0u;    // -inf: there is no maximum to subtract
const USUAL = 1u;    // a finite number
const SPOILED = 2u;  // +inf or NaN

fn kind_of(v: f32) -> u32 {
  let infinite = magnitude_bits(v) == INFINITY_BITS;
  return select(select(USUAL, SPOILED, infinite || is_nan(v)), EMPTY, infinite && v < 0.0);
}

// Of an element `below` (0 or less) the row's maximum.
fn normalized(below: f32, sum: f32, log_sum: f32, kind: u32) -> f32 {
#if LOG
  let result = below - log_sum;
#else
  let result = exp(below) / sum;
#endif
  return select(nan(sum), result, kind == USUAL);
}
