// Scales and zero points for rows, where an operator chooses those of its input by itself.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace etwebgpu {

// Of rows of x [rows, n] as int8: as torchao chooses them for activations.
void emit_choose_int8_rows(LowerContext& c, BufferRef x, std::int64_t rows, std::int64_t n,
                           BufferRef scales, BufferRef zero_points);

}  // namespace etwebgpu
