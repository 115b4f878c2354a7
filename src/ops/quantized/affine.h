// Affine quantization, q = x / scale + zero point, with a scale and a zero point for each block of
// a tensor: what the operators that quantize and dequantize have in common.
#pragma once

#include <string_view>

#include "ops/op.h"

namespace etwebgpu {

// What a block is, and where an operator has its arguments; x comes first.
struct AffineForm {
  enum class Blocks : std::uint8_t {
    All,     // the whole tensor
    Axis,    // all but one dimension (argument `blocks`)
    Rows,    // a row along the last dimension
    Listed,  // of the sizes in argument `blocks`
  };
  std::string_view name, signature;
  Blocks kind = Blocks::All;
  bool quantizes = false;
  std::size_t scale = 1, zero_point = 2, blocks = 0, lowest = 0, highest = 0;
};

// The form of the operator of that name, or null.
const AffineForm* find_affine_form(std::string_view name);

// The sizes of a block: they divide those of x. Of a dimension without elements, a block has one.
Result<Dims> affine_blocks(const CallContext& c, const AffineForm& form);

// How many blocks there are in each dimension.
Dims block_counts(const Dims& sizes, const Dims& blocks);

}  // namespace etwebgpu
