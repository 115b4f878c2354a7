// Linear layers over packed constant weights: one description and one choice of kernels for every
// weight type, for one row and many, with what may surround them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/op.h"

namespace etwebgpu {

// One weight matrix [N, K] of a linear layer.
struct LinearPart {
  PackedPart weight;
  std::optional<PackedPart>
      scales;  // one per output row and group: [groups, N] (transposed) or [N, groups]
  std::optional<PackedPart> bias;  // [N]
  std::int64_t columns = 0;        // N
};

// Where x is an attention over splits of its keys whose partial results are not joined yet
// (attention_merge.wgsl has their layout).
struct SplitAttention {
  BufferRef partials;
  ValueId position = kNoValue;  // live, added to keys
  std::int64_t keys = 0;        // without the live position
  std::int64_t split = 0;       // keys of a split
  std::int64_t splits = 0;      // capacity
  std::int64_t head_dim = 0;    // a multiple of 4
};

// Rows of words in a buffer, from an element on that a binding may begin at.
struct LinearInput {
  BufferRef buffer;
  std::int64_t first_element = 0;
};

//   out[r, n] = norm(x[r]) * sum_k x[r, k] * norm_weight[k] * scale[n, k / group] * W[n, k]
//               + bias[n] + residual[r, n]
// with norm(x[r]) = 1 / sqrt(mean(x[r]^2) + eps), or with `gated` and two parts of equal N
//   out[r, n] = silu(gate[r, n]) * up[r, n].
struct Linear {
  LinearInput x;  // [rows, depth], one word per element
  std::int64_t rows = 0, depth = 0;
  Packing packing = Packing::FloatPanels;
  std::int64_t group_size = 0;    // elements per scale; 0 without scales
  std::vector<LinearPart> parts;  // 1 to 3; all or none have scales, all or none a bias
  std::vector<BufferRef> outs;    // one for each part; one if gated
  bool gated = false;
  std::optional<LinearInput> residual;   // with one output
  std::optional<BufferRef> norm_weight;  // [depth]
  double norm_eps = 0;
  std::optional<SplitAttention> attention;  // takes the place of x, for one row
};

// True if the kernel for one row can take a SplitAttention as its x, of `depth` elements.
bool takes_split_attention(const LowerContext& c, std::int64_t depth, std::int64_t group_size);

// True if products of many rows are wanted in f16 and the device has matrix units that the kernels
// know how to use, with four subgroups to a workgroup.
bool multiplies_in_f16(const LowerContext& c);

// Registers the weights and emits the kernel calls.
Result<void> lower_linear(LowerContext& c, const Linear& linear);

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
Result<LinearPart> group_part(LowerContext& c, ValueId weight, ValueId scales, ValueId bias,
                              std::int64_t n);

// A linear layer of such parts on x [.., K], without parts and outputs yet.
Linear group_linear(BufferRef x, const Dims& sizes, std::int64_t group);

// x [1, S, K] has a last row.
Result<void> check_last_row(const Dims& x);

// Makes the last row of an input of `sizes` all of it: where it lies, if a binding may begin there.
void take_last_row(LowerContext& c, LinearInput& input, const Dims& sizes);

// What is added to a linear layer's output, or None: has as many elements, or with `last` rows like
// the output's one, of which the last is added.
Result<void> check_residual(const CallContext& c, std::size_t residual, ValueId out, bool last);
void add_residual(LowerContext& c, Linear& linear, std::size_t residual, bool last);

// Rows of a linear layer's input [.., K]; 0 if K is 0.
inline std::int64_t linear_rows(const Dims& x) { return x.product(0, x.rank() - 1); }

}  // namespace etwebgpu
