// Permutations and selections that are not carried out: their readers follow strides instead.
// passes/fuse_sdpa.cpp makes operators of this kind ("strided.*") of those whose readers can, or
// that move nothing but dimensions of size 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ops/elementwise/elementwise.h"
#include "ops/op.h"

namespace etwebgpu {

// Where a tensor's elements lie in a buffer: strides in elements, from `first` on.
struct Strided {
  Dims sizes, strides;
  std::int64_t first = 0;
};
inline Strided contiguous(const Dims& sizes) { return {sizes, contiguous_strides(sizes)}; }

// The "strided.*" operator of a call's, or "" where it has none.
std::string_view strided_name(const Graph& graph, const Call& call);

// What a view, a permutation or a selection makes of its first argument, which lies so; null where
// strides cannot say it.
std::optional<Strided> restrided(const CallContext& c, const Strided& in);

// An argument where it lies, behind views and "strided.*" operators that share its memory. What
// strides cannot say is copied.
struct StridedBuffer {
  BufferRef buffer;
  Strided at;
};
StridedBuffer strided_argument(LowerContext& c, std::size_t arg);
// In row-major order, in memory of its own.
StridedBuffer copied(LowerContext& c, const StridedBuffer& source);

}  // namespace etwebgpu
