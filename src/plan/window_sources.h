// What windows of packed constants (ops/packing.h) are made of, for a host that has a file's bytes
// piece by piece: ranges of one constant of the file, or of several where the packed one is made of
// them (Constant::made), so that floats of a quantized weight are nowhere as a whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "ops/packing.h"

namespace etwebgpu {

// A constant of the file, and how many of its bytes a part needs.
struct PartSource {
  std::int32_t constant = -1;  // index into Graph::constants
  std::uint64_t bytes = 0;
};

// Those that a part is made of: the part's constant itself; elements, scales and zero points; or
// none, where all elements are one number.
std::vector<PartSource> part_sources(const Graph& graph, const PackedPart& part);

// Bytes [offset, offset + size) of a part's source.
struct SourceRange {
  std::uint64_t offset = 0, size = 0;
};

// What a window of `constant` needs, a range for each source of its part.
Result<std::vector<SourceRange>> window_ranges(const Graph& graph, const PackedConstant& constant,
                                               const PackedWindow& window);

// Writes the window's bytes; `given` are those of its ranges, one after the other.
Result<void> pack_window(const Graph& graph, const PackedConstant& constant,
                         const PackedWindow& window, std::span<const std::byte> given,
                         std::span<std::byte> out);

}  // namespace etwebgpu
