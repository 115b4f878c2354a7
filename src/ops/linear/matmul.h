// Products of activations, in batches: what is not rows times a packed constant (ops/gemm).
#pragma once

#include <cstdint>
#include <optional>

#include "ops/op.h"

namespace etwebgpu {

// out[b] = alpha * x[b] @ y[b] + beta * bias, with x [batch, m, k] or [batch, k, m], y [batch, k,
// n] or [batch, n, k], and the bias broadcast by its strides.
struct Matmul {
  // In y's place: a packed weight of 4-bit elements [k, n], with a scale for each group in a row.
  struct Groups {
    BufferRef weights = {}, scales = {};
    std::int64_t words = 0, groups = 0, group_size = 0;
  };
  BufferRef x = {}, y = {}, out = {};
  std::int64_t batch = 1, m = 0, k = 0, n = 0;
  bool x_transposed = false, y_transposed = false;
  std::optional<Groups> weight = {};  // of one batch
  double alpha = 1.0, beta = 1.0;
  std::optional<BufferRef> bias = {};
  std::int64_t bias_row = 0, bias_column = 0;
};

// In batches that fit bindings.
void emit_matmul(LowerContext& c, const Matmul& product);

}  // namespace etwebgpu
