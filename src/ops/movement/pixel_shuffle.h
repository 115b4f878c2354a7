// Channels that become pixels: [.., C * r * r, H, W] to [.., C, H * r, W * r].
#pragma once

#include <cstdint>

#include "ops/elementwise/elementwise.h"

namespace etwebgpu {

Result<Dims> shuffled_sizes(const Dims& in, std::int64_t r);
// Over the output, in operand a.
Loops shuffle_loops(const Dims& in, std::int64_t r);

}  // namespace etwebgpu
