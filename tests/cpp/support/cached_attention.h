// Attention over a cache, in the parts that tests combine.
#pragma once

#include "support/graph_builder.h"

namespace etwebgpu::testing {

struct Heads {
  std::int64_t batch, count, kv, dim;
};

// New rows of a cache: inputs position, q [B, S, count, D], k and v [B, S, kv, D]. The caches
// [B, capacity, kv, D] are constants.
struct CachedRows {
  ValueId position, q, k, v;
  GraphBuilder::Cache cache;
};
CachedRows cached_rows(GraphBuilder& b, const Heads& heads, std::int64_t tokens,
                       std::int64_t capacity);

// With q and k turned by tables [S, D/2]: given ones, or inputs.
CachedRows rotated(GraphBuilder& b, CachedRows rows, ValueId cos, ValueId sin);
CachedRows rotated(GraphBuilder& b, const CachedRows& rows);
// The same by halves, from the position on in constant tables [capacity, D].
CachedRows rotated_halves(GraphBuilder& b, CachedRows rows);
// S rows of a constant table [capacity, D/2], from a live one on.
ValueId cut_table(GraphBuilder& b, const CachedRows& rows, ValueId first);

ValueId attend(GraphBuilder& b, const CachedRows& rows, ValueId mask = kNoValue);
// [B, S, heads, D] as [B, S, heads * D], which projections read.
ValueId flatten_heads(GraphBuilder& b, ValueId attended);

}  // namespace etwebgpu::testing
