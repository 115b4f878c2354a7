// Products of rows with packed constant weights, which linear layers and whatever can be written as
// one share: one description and one choice of kernels for every weight type, for one row and many,
// with what may surround them.
//
// A kernel has two doors. Rows come in through a fragment that gives elements of x
// (parts/gemm_rows.wgsl), and results leave through one that takes them (parts/gemm_results.wgsl).
// Who has rows or results of another form brings a fragment and what it mentions as a GemmDoor; the
// kernels stay as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ops/elementwise/activation.h"
#include "ops/op.h"
#include "ops/route.h"

namespace etwebgpu {

inline constexpr std::size_t kMostGemmParts = 3;

// One weight matrix [N, K].
struct GemmPart {
  PackedPart weight;
  std::optional<PackedPart>
      scales;  // one per output row and group: [groups, N] (transposed) or [N, groups]
  std::optional<PackedPart> bias;  // [N]
  std::int64_t columns = 0;        // N
};

// Rows of words in a buffer, from an element on that a binding may begin at.
struct GemmInput {
  BufferRef buffer;
  std::int64_t first_element = 0;
};

// A fragment of the kernels, and what it mentions.
struct GemmDoor {
  struct Buffer {
    Literal name;
    BufferRef buffer;
    std::int64_t row_elements = 0;  // that belong to each row; 0: not to rows, all is bound
    std::int64_t first_element = 0;
  };
  struct Scalar {
    Literal name;
    ValueId value;
  };
  std::string_view fragment;  // its template
  std::vector<Buffer> buffers = {};
  std::vector<Param> params = {};
  Defines defines = {};
  std::optional<Scalar> scalar = {};
  // Rows only: in kernels whose invocations ask for the same elements, each row passes through so
  // much workgroup memory (STAGED).
  std::int64_t workgroup_bytes = 0;
  // Rows only: what the fragment does to their elements (BETWEEN).
  std::optional<Activation> activation = {};
  // The param that tells the fragment which row is a dispatch's first. Without it, and unless all
  // buffers are bound by rows, one dispatch must do for all rows.
  std::optional<Literal> first_row = {};
};

//   out[r, n] = norm(x[r]) * sum_k x[r, k] * norm_weight[k] * scale[n, k / group] * W[n, k]
//               + bias[n] + residual[r, n]
// with norm(x[r]) = 1 / sqrt(mean(x[r]^2) + eps), or with `gated` and two parts of equal N
//   out[r, n] = silu(gate[r, n]) * up[r, n],
// and an activation of that.
struct Gemm {
  GemmInput x;                     // [rows, depth], one word per element
  std::optional<GemmDoor> x_door;  // takes the place of x
  std::int64_t rows = 0, depth = 0;
  Packing packing = Packing::FloatPanels;
  std::int64_t group_size = 0;  // elements per scale; 0 without scales
  std::vector<GemmPart> parts;  // 1 to kMostGemmParts; all or none have scales, all or none a bias
  std::vector<BufferRef> outs;  // one for each part; one if gated
  std::optional<GemmDoor> out_door;  // takes the place of outs, of one part or a gate
  bool gated = false;
  std::optional<GemmInput> residual;     // with one output; through out_door: as that has it
  std::optional<Activation> activation;  // of results
  std::optional<BufferRef> norm_weight;  // [depth]
  double norm_eps = 0;
};

// Registers the weights and emits the kernel calls.
Result<void> lower_gemm(LowerContext& c, const Gemm& gemm);

// True if the kernel for one row of `depth` elements, with scales for `group_size` each, has
// workgroup memory for rows that are staged in f32.
bool takes_staged_row(const LowerContext& c, std::int64_t depth, std::int64_t group_size);

// True if the device has matrix units that the kernels know how to use, with four subgroups to a
// workgroup.
bool has_matrix_units(const LowerContext& c);

}  // namespace etwebgpu
