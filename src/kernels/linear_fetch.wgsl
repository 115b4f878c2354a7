// Words of four of the block's columns; x: their panel, y: the column quad in it.
fn place(block: u32, quad: u32) -> vec2<u32> {
#if GATED
  return vec2<u32>(block / 2u + quad / 8u * params.pair_panels, block % 2u * 8u + quad % 8u);
#else
  return vec2<u32>(block, quad);
#endif
}
