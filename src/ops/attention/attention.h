// An attention problem as the kernels see it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "ops/gemm/gemm.h"
#include "ops/op.h"

namespace etwebgpu {

// Strides in elements; the elements of a row are contiguous.
struct AttentionStrides {
  std::int64_t batch = 0, head = 0, row = 0;
};

struct AttentionTensor {
  BufferRef buffer;
  AttentionStrides strides;
  std::int64_t first = 0;  // element of the buffer: a multiple of what offsets of bindings are
};

// Added to the scores; absent while buffer.index < 0.
struct AttentionMask {
  BufferRef buffer;
  std::int64_t batch = 0, head = 0, row = 0, column = 0;
};

// New rows that come with the queries: q and k are rotated (Su et al. 2021), k and v go into the
// caches.
struct FreshRows {
  BufferRef k, v, cos, sin;      // k, v [batch, queries, kv_heads, head_dim]
  bool halves = false;           // pairs (i, i + rotated / 2) instead of (2i, 2i + 1)
  std::int64_t rotated = 0;      // leading elements of a head; the rest passes through
  std::int64_t table_pitch = 0;  // elements in a row of cos and sin
  std::int64_t table_row = 0;    // of the first query, without the live one
  ValueId live_row = kNoValue;
};

// softmax(q k^T * scale + mask) v for batch * kv_heads * group query heads.
struct Attention {
  std::int64_t batch = 1, queries = 0, kv_heads = 1, group = 1;
  std::int64_t head_dim = 0, value_dim = 0;
  std::int64_t keys = 0;        // without the live position
  std::int64_t most_keys = 0;   // at any position
  std::int64_t offset = 0;      // of the first query among the keys, without the live position
  ValueId position = kNoValue;  // live; added to the offset, and to keys if they follow it
  bool keys_follow_position = false;
  bool causal = false;
  bool half = false;  // k and v hold two f16 per word
  double scale = 1.0;
  AttentionTensor q, k, v, out;
  AttentionMask mask;
};

// The same over a cache whose last positions are the queries' own, not yet rotated or written. With
// `may_stay_split` the result of one query may be left in parts, which are then returned as what a
// matrix product reads them with, and attention.out is not written.
Result<std::optional<GemmDoor>> emit_fresh_attention(LowerContext& c, Attention attention,
                                                     const FreshRows& fresh, bool may_stay_split);

// Emits the kernels for the problem: split along the keys where there are few queries, else row by
// row or in tiles, by the adapter's class.
Result<void> emit_attention(LowerContext& c, const Attention& attention);

// Writes each (value, cache) pair of arguments, one or two of equal sizes, at the position
// argument.
void emit_cache_update(LowerContext& c, std::span<const std::pair<std::size_t, std::size_t>> writes,
                       std::size_t position);

}  // namespace etwebgpu
