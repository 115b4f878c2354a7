// Which kernel computes a matrix product, and how it divides the work.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ops/gemm/gemm.h"
#include "ops/route.h"

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

// A column block is `quads` groups of four columns (of each matrix if gated).
struct GemmRoute : Route {
  std::int64_t quads = kQuadsPerPanel;
  std::int64_t rows = 1;             // per row block
  std::vector<Literal> params = {};  // that only some kernels have (parts/gemm_shape.wgsl)
  bool by_element = false;           // x is read an element at a time, not four
  std::int64_t staged_rows = 0;      // of a block, where the door has them pass through memory
  // gemm_matrices: the workgroups that share a tile, along K, and the f16 that an element of x and
  // of the weights is the sum of. gemm_half_rows (of one) or gemm_split_rows comes before it, and
  // gemm_join after it. Splits of 0: another kernel, which does all. gemm_few_rows has x_terms of
  // 0, for its rows are as they come, and gemm_join after it if it has splits.
  std::int64_t splits = 0, x_terms = 1, w_terms = 1;
  std::int64_t split_steps = 0;  // of each, if gemm_few_rows has several
};

// `panels` counts those of all parts, or of one part if gated.
GemmRoute choose_gemm_route(const LowerContext& c, const Gemm& gemm, std::int64_t panels);

}  // namespace etwebgpu
