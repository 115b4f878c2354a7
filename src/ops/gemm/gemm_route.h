// Which kernel computes a linear layer, and how it divides the work.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/gemm/gemm.h"

namespace etwebgpu {

constexpr std::int64_t kQuadsPerPanel = kPanel / 4;
constexpr std::int64_t kRowUnit = 64;  // rows whose bytes are a multiple of every storage alignment
constexpr std::int64_t kMatrixDepth = 32;  // elements of K that gemm_matrices stages at a time

struct WeightType {
  std::string_view name;       // WEIGHT of the kernels
  std::int64_t step;           // elements of K per loop step
  std::int64_t loads, halves;  // words, and groups of four elements, per step
};

WeightType weight_type(Packing packing);

// Parameters of a kernel.
using Defines = std::vector<std::pair<std::string_view, std::int64_t>>;

// A column block is `quads` groups of four columns (of each matrix if gated).
struct LinearRoute {
  std::string_view kernel;
  std::int64_t quads = kQuadsPerPanel;
  std::int64_t rows = 1;  // per row block
  Defines defines;
  std::vector<Literal> params;  // that only some kernels have (gemm_params.wgsl)
  std::string_view x_type = "F4";
  bool fixed = false;  // the params are part of the kernel (KernelCall::fix_params)
  // gemm_matrices: the workgroups that share a tile, along K. gemm_half_rows comes before it, and
  // gemm_join after it. 0: another kernel, which does all.
  std::int64_t splits = 0;
};

// `panels` counts those of all parts, or of one part if gated.
LinearRoute choose_linear_route(const LowerContext& c, const Linear& linear, std::int64_t panels);

}  // namespace etwebgpu
