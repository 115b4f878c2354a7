// A window that moves over an image, as convolutions and pooling have it along each dimension.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "ops/arguments.h"

namespace etwebgpu {

// Kernels reckon with places in 32 bits.
inline constexpr std::int64_t kLongestSpan = 1 << 30;

struct Window {
  std::int64_t in = 1, kernel = 1, stride = 1, padding = 0, dilation = 1, out = 1;
  // Elements from its first place to its last.
  std::int64_t span() const { return dilation * (kernel - 1) + 1; }
};

// What a list argument says of dimension `dim` of `dims`: it has an item for each, or one for all.
// An empty list, or none, means the fallback.
inline Result<std::int64_t> window_item(const CallContext& c, std::size_t arg, std::size_t dim,
                                        std::size_t dims, std::int64_t fallback, std::int64_t least,
                                        std::string_view what) {
  constexpr std::int64_t kMost = 1 << 24;
  if (arg >= c.output_arg()) return fallback;
  CHECK_OR_FAIL(!holds_symint(c, arg), ErrorKind::NotSupported, "a ", what,
                " that is computed while the program runs");
  const std::vector<std::int64_t> list = c.int_list(arg);
  if (list.empty()) return fallback;
  CHECK_OR_FAIL(list.size() == dims || list.size() == 1, ErrorKind::InvalidProgram, "a ", what,
                " of ", list_text(list), " does not suit ", dims, " dimensions");
  const std::int64_t value = list[list.size() == 1 ? 0 : dim];
  CHECK_OR_FAIL(value >= least && value <= kMost, ErrorKind::InvalidProgram, "a ", what, " of ",
                list_text(list));
  return value;
}

}  // namespace etwebgpu
