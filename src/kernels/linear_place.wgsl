// Where the columns of a tile lie among the panels. A tile has COLUMN_QUADS groups of four columns; if GATED,
// HALF_QUADS of one matrix and then as many of the other's, and so on, so that an invocation or subgroup with
// neighbouring columns has a gate and its up.

// Of a block's column quad, x: the panel, y: the column quad in it.
fn place(block: u32, quad: u32) -> vec2<u32> {
#if GATED
  let at = block * (${COLUMN_QUADS}u / 2u) + quad / (2u * ${HALF_QUADS}u) * ${HALF_QUADS}u + quad % ${HALF_QUADS}u;
  let pair = quad / ${HALF_QUADS}u % 2u * params.pair_panels;
  return vec2<u32>(at / 16u + pair, at % 16u);
#else
  let at = block * ${COLUMN_QUADS}u + quad;
  return vec2<u32>(at / 16u, at % 16u);
#endif
}
