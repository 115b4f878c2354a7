// Rows of 8-bit integers that lie one after the other.
#param ALIGNED : 0 | 1  // they are whole words
//   depth      of a row
//   x_words    of all rows
@group(0) @binding(x) var<storage, read> x: array<u32>;

fn row_word(row: u32, word: u32) -> u32 {
  let at = min(row, params.count - 1u) * params.depth + word * 4u;
#if ALIGNED
  return x[at / 4u];
#else
  let low = x[min(at / 4u, params.x_words - 1u)];
  let high = x[min(at / 4u + 1u, params.x_words - 1u)];
  let shift = at % 4u * 8u;
  return select((low >> shift) | (high << ((32u - shift) % 32u)), low, shift == 0u);
#endif
}

fn quad_words(quad: u32, word: u32) -> U4 {
  var words = U4();
  for (var r = 0u; r < 4u; r++) {
    words[r] = row_word(quad * 4u + r, word);
  }
  return words;
}
