// The scales of a matrix product's weights, in panels: float-panels, or half-panels, whose words have two groups each.
#param SCALES = 0 : 0 | f32 | f16
#if SCALES == f32
@group(0) @binding(scales) var<storage, read> scales: array<F4>;
#elif SCALES == f16
@group(0) @binding(scales) var<storage, read> scales: array<U4>;
#endif

// The low (0) or high (1) f16 of each word.
fn half(words: U4, which: u32) -> F4 {
  return F4(unpack2x16float(words.x)[which], unpack2x16float(words.y)[which], unpack2x16float(words.z)[which],
            unpack2x16float(words.w)[which]);
}

#if SCALES == f32
// Of a column quad of a panel and a group along K.
fn scale_quad(panel: u32, column: u32, group: u32) -> F4 {
  return scales[(panel * params.groups + group) * 16u + column];
}
#elif SCALES == f16
fn scale_quad(panel: u32, column: u32, group: u32) -> F4 {
  return half(scales[(panel * ((params.groups + 1u) / 2u) + group / 2u) * 16u + column], group % 2u);
}
#endif
