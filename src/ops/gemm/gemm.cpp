// Products whose weights are too large for a binding in another way than by their rows become
// several.
#include "ops/gemm/gemm.h"

#include <algorithm>
#include <numeric>

#include "ops/elementwise/elementwise.h"
#include "ops/gemm/gemm_lower.h"

namespace etwebgpu {
namespace {

// Words of a panel's row of weights or of scales, whichever are more.
std::int64_t panel_row_words(const Gemm& g) {
  const std::int64_t groups = g.group_size > 0 ? g.depth / g.group_size : 1;
  return std::max(div_up(g.depth, panel_elements(g.packing)), groups);
}

std::int64_t binding_limit(const LowerContext& c) {
  return static_cast<std::int64_t>(c.capabilities().max_storage_binding);
}

// Gate and up are read through one binding.
bool gate_fits_binding(const LowerContext& c, const Gemm& g) {
  const std::int64_t panels = 2 * div_up(g.parts[0].columns, kPanel);
  return panels * panel_row_words(g) <= binding_limit(c) / std::int64_t{kPanelRowBytes};
}

// As two products, and silu(gate) * up by itself.
Result<void> lower_gate_apart(LowerContext& c, const Gemm& gemm) {
  const std::int64_t count = gemm.rows * gemm.parts[0].columns;
  std::vector<Operand> halves;
  for (const GemmPart& part : gemm.parts) {
    Gemm half = gemm;
    half.gated = false;
    half.parts = {part};
    half.outs = {c.scratch(count)};
    TRY(lower_gemm(c, half));
    halves.push_back({.kind = Operand::Kind::Tensor, .buffer = half.outs[0]});
  }
  const Elementwise product{.expression = "a * sigmoid(a) * b", .library = "sigmoid"};
  emit_elementwise(c, product, halves, {{count, {1, 1, 0}}}, {gemm.outs[0]});
  return {};
}

// Elements of K whose panels fit a binding, in whole words and scale groups.
std::int64_t panel_depth_limit(const LowerContext& c, const Gemm& g) {
  constexpr std::int64_t kUnit = 64;  // elements of x whose bytes suit every alignment
  const std::int64_t words = binding_limit(c) / std::int64_t{kPanelRowBytes};
  if (panel_row_words(g) <= words) return g.depth;
  const bool grouped = g.group_size > 0 && g.group_size < g.depth;
  const std::int64_t unit = grouped ? std::lcm(kUnit, g.group_size) : kUnit;
  return words * panel_elements(g.packing) / unit * unit;
}

// x[:, first : first + count].
GemmInput cut_columns(LowerContext& c, const Gemm& g, std::int64_t first, std::int64_t count) {
  if (g.rows == 1) return {g.x.buffer, g.x.first_element + first};
  const BufferRef out = c.scratch(g.rows * count);
  const Loops loops{{g.rows, {g.depth, 0, 0}}, {count, {1, 0, 0}}};
  emit_copy(c, {g.x.buffer}, g.x.first_element + first, loops, {out});
  return {out};
}

// One output as a sum over pieces of K, each added to the one before.
Result<void> lower_part_by_depth(LowerContext& c, const Gemm& gemm, std::size_t part,
                                 std::int64_t step) {
  Gemm piece = gemm;
  for (std::int64_t first = 0; first < gemm.depth; first += step) {
    const std::int64_t count = std::min(step, gemm.depth - first);
    const bool is_last = first + count == gemm.depth;
    piece.parts = {gemm.parts[part]};
    piece.parts[0].weight.first_k = first;
    piece.parts[0].weight.count_k = count;
    if (first > 0) piece.parts[0].bias = std::nullopt;
    piece.depth = count;
    if (piece.group_size > 0) piece.group_size = count;
    piece.x = cut_columns(c, gemm, first, count);
    piece.outs = {is_last ? gemm.outs[part] : c.scratch(gemm.rows * gemm.parts[part].columns)};
    piece.activation = is_last ? gemm.activation : std::nullopt;
    TRY(lower_gemm(c, piece));
    piece.residual = GemmInput{piece.outs[0]};
  }
  return {};
}

Result<void> lower_by_depth(LowerContext& c, const Gemm& gemm) {
  const std::int64_t step = panel_depth_limit(c, gemm);
  const bool grouped = gemm.group_size > 0 && gemm.group_size < gemm.depth;
  CHECK_OR_FAIL(step > 0 && !grouped && !gemm.norm_weight && !gemm.x_door && !gemm.out_door,
                ErrorKind::NotSupported, "a weight of ", gemm.depth,
                " elements per output row does not fit this device's storage binding of ",
                binding_limit(c), " bytes");
  for (std::size_t part = 0; part < gemm.parts.size(); ++part)
    TRY(lower_part_by_depth(c, gemm, part, step));
  return {};
}

}  // namespace

Result<void> lower_gemm(LowerContext& c, const Gemm& gemm) {
  if (gemm.gated && !gemm.out_door && !gate_fits_binding(c, gemm)) return lower_gate_apart(c, gemm);
  if (panel_depth_limit(c, gemm) < gemm.depth) return lower_by_depth(c, gemm);
  return lower_fitting_gemm(c, gemm);
}

}  // namespace etwebgpu
