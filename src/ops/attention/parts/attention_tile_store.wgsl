// What a tile's workgroup has of a row: the result, or with SPLIT the part of one split of the keys for attention_merge.
#param SPLIT = 0 : 0 | 1
#param DV4  // groups of 4 in a row of v and out, rounded up
#if SPLIT
#param SPLIT_KEYS  // that a workgroup walks
@group(0) @binding(partials) var<storage, read_write> partials: array<vec4<f32>>;
#else
#include "attention_store.wgsl"
#endif

// Where the row begins: `split` is wid.y.
fn row_place(batch: u32, head: u32, query: u32, split: u32) -> u32 {
#if SPLIT
  let row = (batch * params.kv_heads * params.group + head) * params.queries + query;
  return (row * params.splits + split) * (${DV4}u + 1u);
#else
  return batch * params.out_batch + head * params.out_head + query * params.out_row;
#endif
}

// Group i of the row: the sum of weighted values, and of their weights.
fn store_group(place: u32, i: u32, acc: vec4<f32>, sum: f32) {
#if SPLIT
  partials[place + i] = acc;
#else
  store_out(place, i, normalized(acc, sum));
#endif
}
