// What is computed row by row: how wide the workgroup of a row is (norms, softmax), and sums.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>

#include "ops/op.h"

namespace etwebgpu {

// Lanes for a row of n elements. Software adapters run a workgroup's lanes in one SIMD register at
// a time: 8 lanes keep their barriers nearly free, and rows give the threads.
inline std::uint32_t row_lanes(const LowerContext& c, std::int64_t n) {
  const std::uint32_t most = c.is_software() ? 8u : 256u;
  const auto wanted = std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(n, 1)));
  const auto least = std::min<std::uint64_t>(most, 32);
  return c.workgroup_size(
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(wanted, least, most)));
}

// A kernel over `rows` rows of n units, with WG and FOLD (workgroup_reduce.wgsl) set.
inline Route rows_route(const LowerContext& c, std::string_view kernel, std::int64_t rows,
                        std::int64_t n) {
  const std::uint32_t wg = row_lanes(c, n);
  return {.kernel = kernel, .defines = {{"WG", wg}, {"FOLD", std::min(wg, 16u)}}, .groups = rows};
}

// out[0] = the sum of n floats, of at least one.
void emit_sum(LowerContext& c, BufferRef x, std::int64_t n, BufferRef out);

}  // namespace etwebgpu
