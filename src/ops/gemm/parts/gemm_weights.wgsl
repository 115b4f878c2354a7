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
