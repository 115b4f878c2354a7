// Linear layers as the families that make them see them: their sizes, and those with 4-bit weights
// in groups, which stand alone or behind an attention.
#pragma once

#include <cstdint>

#include "ops/gemm/gemm.h"
#include "ops/op.h"

namespace etwebgpu {

// Rows of a linear layer's input [.., K]; 0 if K is 0.
inline std::int64_t linear_rows(const Dims& x) { return x.product(0, x.rank() - 1); }

// Sizes of a linear layer's output: x's with the last replaced by n; or [rows, n] where the
// exporter recorded the output flattened. Fails if x has no last dimension or the output neither
// rank.
Result<Dims> linear_sizes(const Dims& x, std::size_t out_rank, std::int64_t n);

// N of a linear layer with this output.
inline std::int64_t output_width(const CallContext& c, ValueId out) {
  const Dims& bound = c.graph().tensor(out)->bound;
  return bound.empty() ? 1 : bound.back();
}

// A weight u8 [N, K/2] of 4-bit elements in groups along K, with scales [K/group, N] and a bias [N]
// or kNoValue, as in et_vk.linear_q4gsw: checks them against x and sets the output's sizes.
Result<void> infer_group_part(InferContext& c, const Dims& x, std::int64_t group, ValueId weight,
                              ValueId scales, ValueId bias, ValueId out);
// The same as a part of a linear layer with n columns.
Result<GemmPart> group_part(LowerContext& c, ValueId weight, ValueId scales, ValueId bias,
                            std::int64_t n);

// A linear layer of such parts on x [.., K], without parts and outputs yet.
Gemm group_linear(BufferRef x, const Dims& sizes, std::int64_t group);

// x [1, S, K] has a last row.
Result<void> check_last_row(const Dims& x);

// Makes the last row of an input of `sizes` all of it: where it lies, if a binding may begin there.
void take_last_row(LowerContext& c, GemmInput& input, const Dims& sizes);

// What is added to a linear layer's output, or None: has as many elements, or with `last` rows like
// the output's one, of which the last is added.
Result<void> check_residual(const CallContext& c, std::size_t residual, ValueId out, bool last);
void add_residual(LowerContext& c, Gemm& linear, std::size_t residual, bool last);

}  // namespace etwebgpu
