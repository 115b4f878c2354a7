// What kernels are tried on, and whether two of them agree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"

namespace etwebgpu {

// Elements of a tensor, the same for the same seed. Floats lie between -1 and 1; those of a
// constant of one dimension at most, which is a scale, a norm's weight or a variance, are positive.
// Bytes are any, for they are packed weights. Wider integers, which may be indices, are 0 to 2.
std::vector<std::byte> made_up(DType dtype, const Dims& sizes, bool is_constant,
                               std::uint64_t seed);

// Where two results of one computation differ by more than rounding explains, in words; nothing
// where they agree. Floats may differ by `tolerance` times the largest magnitude that is wanted,
// 8-bit integers, which were rounded from floats, by one. NaN agrees with NaN.
std::optional<std::string> difference(DType dtype, std::span<const std::byte> got,
                                      std::span<const std::byte> wanted, double tolerance);

}  // namespace etwebgpu
