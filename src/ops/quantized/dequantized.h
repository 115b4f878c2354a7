// Constants that were quantized, computed on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "ops/packing.h"

namespace etwebgpu {

// Elements [first, first + count) of a tensor.
struct Stretch {
  std::int64_t first = 0, count = 0;
  bool operator==(const Stretch&) const = default;
};

// The scales, and likewise zero points, that elements of the constant are made with: those from the
// first one to the last.
Stretch blocks_of(const Dequantized& made, Stretch elements);

// The bytes of elements of the constant, of the same ones that it is made of and of their blocks:
// as many as their dtypes need. `zero_points` are read where it has some.
std::vector<std::byte> dequantize(const Dequantized& made, Stretch wanted,
                                  std::span<const std::byte> elements,
                                  std::span<const std::byte> scales,
                                  std::span<const std::byte> zero_points);

// All of it.
inline std::vector<std::byte> dequantize(const Dequantized& made,
                                         std::span<const std::byte> elements,
                                         std::span<const std::byte> scales,
                                         std::span<const std::byte> zero_points) {
  return dequantize(made, {0, made.elements.bound.numel()}, elements, scales, zero_points);
}

// The 8-bit matrix [N, K] behind a constant that is dequantized without zero points, with a scale
// for each row or for each of its groups of `group` elements; nothing for other constants.
struct ByteMatrix {
  PackedPart elements, scales;  // scales [N, K / group]
  std::int64_t group = 0;
};
std::optional<ByteMatrix> byte_matrix(const Constant& constant);

}  // namespace etwebgpu
