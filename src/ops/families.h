// The operator families. Each family file defines one table; registry.cpp joins them.
#pragma once

#include <span>

#include "ops/op.h"

namespace etwebgpu {

// One line per family, alphabetical; registry.cpp lists the same names.
#define ETWG_OP_FAMILIES(X) \
  X(affine_ops)             \
  X(attention_ops)          \
  X(binary_ops)             \
  X(byte_convolution_ops)   \
  X(byte_elementwise_ops)   \
  X(byte_linear_ops)        \
  X(convolution_ops)        \
  X(delta_rule_ops)         \
  X(embedding_ops)          \
  X(fill_ops)               \
  X(index_ops)              \
  X(linear_ops)             \
  X(norm_ops)               \
  X(pool_ops)               \
  X(quantize_ops)           \
  X(quantized_linear_ops)   \
  X(reduce_ops)             \
  X(resample_ops)           \
  X(rotary_ops)             \
  X(scatter_ops)            \
  X(shape_ops)              \
  X(softmax_ops)            \
  X(symint_ops)             \
  X(topk_ops)               \
  X(training_ops)           \
  X(unary_ops)

#define ETWG_DECLARE_FAMILY(name) std::span<const Op> name();
ETWG_OP_FAMILIES(ETWG_DECLARE_FAMILY)
#undef ETWG_DECLARE_FAMILY

}  // namespace etwebgpu
