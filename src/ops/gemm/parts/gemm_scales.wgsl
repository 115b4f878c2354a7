// The scales of a matrix product's weights, in panels: float-panels, or half-panels, whose words have two groups each;
// ones if there are none. They are fetched (scale_words) apart from where they become numbers (scale_of): what a
// fetched word is computed to waits for it.
#param SCALES = 0 : 0 | f32 | f16
#if SCALES == f32
@group(0) @binding(scales) var<storage, read> scales: array<F4>;
#elif SCALES == f16
@group(0) @binding(scales) var<storage, read> scales: array<U4>;
#endif

// The low (0) or high (1) f16 of each word.
fn half(words: U4, which: u32) -> F4 {
  let wanted = words >> U4(which * 16u);
  return F4(unpack2x16float(wanted.x).x, unpack2x16float(wanted.y).x, unpack2x16float(wanted.z).x,
            unpack2x16float(wanted.w).x);
}

// Of a column quad of a panel and a group along K.
#if SCALES == f16
alias Scales = U4;

fn scale_words(panel: u32, column: u32, group: u32) -> Scales {
  return scales[(panel * ((params.groups + 1u) / 2u) + group / 2u) * 16u + column];
}

fn scale_of(words: Scales, group: u32) -> F4 {
  return half(words, group % 2u);
}
#else
alias Scales = F4;

fn scale_words(panel: u32, column: u32, group: u32) -> Scales {
#if SCALES
  return scales[(panel * params.groups + group) * 16u + column];
#else
  return F4(1.0);
#endif
}

fn scale_of(words: Scales, group: u32) -> F4 {
  return words;
}
#endif

fn scale_quad(panel: u32, column: u32, group: u32) -> F4 {
  return scale_of(scale_words(panel, column, group), group);
}
