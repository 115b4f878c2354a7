// Where the columns of a tile lie among the panels. A tile has COLUMN_QUADS groups of four columns; if GATED, the first
// half are of one matrix, and the others the same columns of the other.
#param COLUMN_QUADS

// Of a block's column quad, x: the panel, y: the column quad in it.
fn place(block: u32, quad: u32) -> vec2<u32> {
#if GATED
  const HALF = ${COLUMN_QUADS}u / 2u;
  let at = block * HALF + quad % HALF;
  return vec2<u32>(at / 16u + quad / HALF * params.pair_panels, at % 16u);
#else
  let at = block * ${COLUMN_QUADS}u + quad;
  return vec2<u32>(at / 16u, at % 16u);
#endif
}
