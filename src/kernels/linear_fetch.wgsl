// What kernels that stage tiles of a linear layer fetch: of a block, a panel or if GATED 32 columns of each
// matrix, and of x.

// Words of four of the block's columns; x: their panel, y: the column quad in it.
fn place(block: u32, quad: u32) -> vec2<u32> {
#if GATED
  return vec2<u32>(block / 2u + quad / 8u * params.pair_panels, block % 2u * 8u + quad % 8u);
#else
  return vec2<u32>(block, quad);
#endif
}

// A word of each of four columns. Words past the end are clamped, and multiplied by a scale of zero.
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

// Four elements of x, zero past its end.
fn load_x(row: u32, quad: u32) -> F4 {
  let per_row = params.k / 4u;
  let value = x[min(row, params.rows - 1u) * per_row + min(quad, per_row - 1u)];
  return select(F4(0.0), value, quad < per_row);
}
