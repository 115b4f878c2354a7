// The weights of a matrix product, in panels.
#param WEIGHT : q4 | q8 | f16 | f32
#param SCALES = 0 : 0 | 1
@group(0) @binding(weights) var<storage, read> weights: array<U4>;
#if SCALES
@group(0) @binding(scales) var<storage, read> scales: array<F4>;
#endif
#if WEIGHT == f16

// The low (0) or high (1) f16 of each word.
fn half(words: U4, which: u32) -> F4 {
  return F4(unpack2x16float(words.x)[which], unpack2x16float(words.y)[which], unpack2x16float(words.z)[which],
            unpack2x16float(words.w)[which]);
}
#endif

// Four elements of x as step_sums.wgsl takes them: a nibble becomes a float as mantissa bits of 2^23, and x is scaled
// to match its place. No conversion, and no shift for each, which GPUs do at a fraction of their rate.
fn in_place(elements: F4) -> F4 {
#if WEIGHT == q4
  return elements * F4(1.0, 0.0625, 0.00390625, 0.000244140625);
#else
  return elements;
#endif
}
