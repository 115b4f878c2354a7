// What the attention kernels share: the problem's sizes and how q, k, v and out are read.
// Tensors are addressed as batch, head, row (position) and element, strides in elements; the elements of
// a row are contiguous. Query s sees the keys [0, min(keys, offset + s + 1)) if CAUSAL, else [0, keys),
// where a live position adds to both keys and offset.
#param DV                 // elements of a row of v and out
#param VEC : 0 | 1        // rows, and strides, are multiples of 4 elements
#param CAUSAL : 0 | 1
#param POSITION : 0 | 1   // a live position is bound
//   group      query heads per kv head
//   units      batch * kv_heads * chunks
//   splits     capacity of the partial results, per head and query
//   d4         D4 and DV4 again, as bounds of loops that no compiler should unroll
//   table_row  first row of the rotary tables (attention_rope)
//   no_keys    NaN: the result for a query that sees no key
#params
#if POSITION
@group(0) @binding(position) var<uniform> position: vec4<i32>;
#endif

const LOWEST: f32 = -0x1.fffffep+127f;

// A key's weight is this times exp(score - maximum), so that sums of 2^17 values are floats if their mean is. A score of
// NaN or +inf makes its weight NaN (or, on devices whose exp of NaN is that, infinite), and so the query's result NaN;
// conditions on scores are written such that NaN fails them.
const UNIT: f32 = 0x1p-17f;

fn key_count() -> u32 {
#if POSITION
  return params.keys + u32(position.x);
#else
  return params.keys;
#endif
}

// Keys that query s may see.
fn key_limit(s: u32) -> u32 {
#if CAUSAL
#if POSITION
  return min(key_count(), params.offset + u32(position.x) + s + 1u);
#else
  return min(key_count(), params.offset + s + 1u);
#endif
#else
  return key_count();
#endif
}
