// What the attention kernels share: the problem's sizes and how q, k, v and out are read.
// Tensors are addressed as batch, head, row (position) and element, strides in elements; the elements of
// a row are contiguous. Query s sees the keys [0, min(keys, offset + s + 1)) if CAUSAL, else [0, keys),
// where a live position adds to both keys and offset.
#param DV                 // elements of a row of v and out
#param VEC : 0 | 1        // rows, and strides, are multiples of 4 elements
#param CAUSAL : 0 | 1
#param POSITION : 0 | 1   // a live position is bound
#param FIXED = 0 : 0 | 1  // the params are not a uniform but part of the kernel
struct Params {
  queries: u32,
  kv_heads: u32,
  group: u32,        // query heads per kv head
  keys: u32,
  offset: u32,
  q_batch: u32, q_head: u32, q_row: u32,
  k_batch: u32, k_head: u32, k_row: u32,
  v_batch: u32, v_head: u32, v_row: u32,
  out_batch: u32, out_head: u32, out_row: u32,
  mask_batch: u32, mask_head: u32, mask_row: u32, mask_column: u32,
  units: u32,        // batch * kv_heads * chunks
  splits: u32,       // capacity of the partial results, per head and query
  d4: u32,           // D4 and DV4 again, as bounds of loops that no compiler should unroll
  dv4: u32,
  table_row: u32,    // first row of the rotary tables (attention_rope)
  scale: f32,
  no_keys: f32,      // NaN: the result for a query that sees no key
}
#if FIXED
#param PARAMS  // their words
#param FLOATS  // those that are floats
const P = array<u32, 28>(${PARAMS});
const F = array(${FLOATS});
const params = Params(P[0], P[1], P[2], P[3], P[4], P[5], P[6], P[7], P[8], P[9], P[10], P[11], P[12], P[13],
                      P[14], P[15], P[16], P[17], P[18], P[19], P[20], P[21], P[22], P[23], P[24], P[25],
                      F[0], 0.0);
#else
#param PARAMS_AT
@group(0) @binding(${PARAMS_AT}) var<uniform> params: Params;
#endif
#if POSITION
#param POSITION_AT
@group(0) @binding(${POSITION_AT}) var<uniform> position: vec4<i32>;
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
