// Rows of a matrix by index, from a table of any size: what embeddings and index operators share.
#pragma once

#include <cstdint>
#include <optional>

#include "ops/op.h"

namespace etwebgpu {

// out[i] = table[indices[i]] for a table of `rows` x `width`.
struct Lookup {
  BufferRef table = {}, indices = {}, out = {};
  std::int64_t rows = 0, width = 0, count = 0;  // count: indices
  bool panels = false;
  Packing packing = Packing::Words;
  std::optional<BufferRef> scales = {};  // [rows, groups], one word each
  std::int64_t group_size = 1, scale_stride = 0;
};

// An index outside the table gives a row of zeros. Tables larger than a binding are read piece by
// piece; fails if not even 64 rows fit.
Result<void> emit_lookup(LowerContext& c, const Lookup& lookup);

}  // namespace etwebgpu
