// Constants that were quantized, computed on the host.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ir/graph.h"

namespace etwebgpu {

// The bytes of the constant, of those that it is made of: as many as their dtypes and sizes need.
// `zero_points` are read where it has some.
std::vector<std::byte> dequantize(const Dequantized& made, std::span<const std::byte> elements,
                                  std::span<const std::byte> scales,
                                  std::span<const std::byte> zero_points);

}  // namespace etwebgpu
