// The weights of a matrix product, in panels.
#param WEIGHT : q4 | q8 | f16 | f32
@group(0) @binding(weights) var<storage, read> weights: array<U4>;
#include "gemm_scales.wgsl"

// Four elements of x as step_sums.wgsl takes them: a nibble becomes a float as mantissa bits of 2^23, and x is scaled
// to match its place. No conversion, and no shift for each, which GPUs do at a fraction of their rate.
fn in_place(elements: F4) -> F4 {
#if WEIGHT == q4
  return elements * F4(1.0, 0.0625, 0.00390625, 0.000244140625);
#else
  return elements;
#endif
}
