// What kernels that stage tiles of a linear layer's weights fetch.
#include "linear_place.wgsl"

// A word of each of four columns. What lies past the end is another's, and multiplied by a scale of zero or never
// written.
fn fetch_words(block: u32, quad: u32, word: u32) -> U4 {
  let at = place(block, quad);
  return weights[(at.x * params.words + min(word, params.words - 1u)) * 16u + at.y];
}

fn fetch_scale(block: u32, quad: u32, word: u32) -> F4 {
#if SCALES
  let at = place(block, quad);
  let group = min(word, params.words - 1u) / params.group_steps;
  let scale = scales[(at.x * params.groups + group) * 16u + at.y];
#else
  let scale = F4(1.0);
#endif
  return select(F4(0.0), scale, word < params.words);
}
