// The kernel calls of a linear layer, and their parameters.
#include <algorithm>
#include <numeric>
#include <span>

#include "ops/elementwise/elementwise.h"
#include "ops/gemm/gemm_route.h"

namespace etwebgpu {
namespace {

struct Packed {
  BufferRef weights;
  std::optional<BufferRef> scales, bias;
};

// A dispatch: these panels and these rows.
struct Section {
  std::int64_t first_panel, panels, first_row, rows;
};

// Params of gemm_join that not all kernels have.
constexpr Literal kOfJoin[] = {"rows", "row_blocks"};

class Lowering {
 public:
  Lowering(LowerContext& c, const Linear& linear)
      : c_(c), l_(linear), type_(weight_type(linear.packing)) {
    words_ = panel_words(l_.packing, l_.parts[0].weight);
    groups_ = l_.group_size > 0 ? l_.depth / l_.group_size : 1;
    for (const LinearPart& part : l_.parts) {
      starts_.push_back(panels_);
      panels_ += div_up(part.columns, kPanel);
    }
    if (l_.gated) panels_ = starts_[1];
  }

  Result<void> run() {
    TRY_ASSIGN(const Packed packed, pack());
    if (l_.rows == 0 || panels_ == 0) return {};
    const LinearRoute route = choose_linear_route(c_, l_, panels_);
    TRY_ASSIGN(const std::int64_t panels, panels_per_binding(route));
    TRY_ASSIGN(const std::int64_t bound, rows_per_binding(route));
    const std::int64_t rows = std::min(bound, rows_for_memory(route));
    for (std::int64_t row = 0; row < l_.rows; row += rows) {
      const std::int64_t count = std::min(rows, l_.rows - row);
      std::optional<BufferRef> halves;
      if (route.splits > 0) halves = emit_half_rows(route, row, count);
      for (std::int64_t panel = 0; panel < panels_; panel += panels) {
        const Section section{panel, std::min(panels, panels_ - panel), row, count};
        halves ? emit_matrices(packed, route, section, *halves) : emit(packed, route, section);
      }
    }
    return {};
  }

 private:
  // Depends on the weights alone, so that all plans share them.
  Result<Packed> pack() {
    PackedConstant weights{l_.packing, {}}, scales{Packing::FloatPanels, {}},
        bias{Packing::FloatPanels, {}};
    for (const LinearPart& part : l_.parts) {
      auto add = [&](PackedConstant& to, PackedPart source) {
        source.rows = part.columns;
        to.parts.push_back(std::move(source));
      };
      add(weights, part.weight);
      if (part.scales) add(scales, *part.scales);
      if (part.bias) add(bias, *part.bias);
    }
    Packed packed;
    TRY_ASSIGN(packed.weights, c_.packed(weights));
    TRY_ASSIGN(packed.scales, optional(scales));
    TRY_ASSIGN(packed.bias, optional(bias));
    return packed;
  }
  Result<std::optional<BufferRef>> optional(const PackedConstant& constant) {
    if (constant.parts.empty()) return std::nullopt;
    CHECK_OR_FAIL(constant.parts.size() == l_.parts.size(), ErrorKind::Internal,
                  "stacked linear layers must all have a bias and scales, or none");
    TRY_ASSIGN(const BufferRef buffer, c_.packed(constant));
    return buffer;
  }

  // --- Sections ---

  Result<std::int64_t> panels_per_binding(const LinearRoute& route) const {
    const auto limit = static_cast<std::int64_t>(c_.capabilities().max_storage_binding);
    const auto bytes = static_cast<std::int64_t>(kPanelRowBytes) * std::max(words_, groups_);
    // Column blocks of several panels begin with a binding.
    const std::int64_t unit = std::max<std::int64_t>(1, route.quads / kQuadsPerPanel);
    CHECK_OR_FAIL(unit * bytes <= limit, ErrorKind::NotSupported, "a weight of ", l_.depth,
                  " elements per output row does not fit this device's storage "
                  "binding of ",
                  limit, " bytes");
    return limit / bytes / unit * unit;
  }

  Result<std::int64_t> rows_per_binding(const LinearRoute& route) const {
    const auto limit = static_cast<std::int64_t>(c_.capabilities().max_storage_binding);
    std::int64_t widest = l_.depth;
    for (const LinearPart& part : l_.parts) widest = std::max(widest, part.columns);
    if (route.splits > 0) {  // its sums are the widest, and come in whole tiles
      widest =
          std::max({widest, half_depth() / 2, sums_count(route, {0, panels_, 0, 1}) / route.rows});
    }
    const std::int64_t rows = limit / (4 * widest) - (route.splits > 0 ? route.rows : 0);
    if (rows >= l_.rows) return l_.rows;
    const std::int64_t unit = row_unit();
    CHECK_OR_FAIL(rows >= unit, ErrorKind::NotSupported, unit, " rows of ", widest,
                  " elements do not fit this device's storage binding of ", limit, " bytes");
    return rows / unit * unit;
  }
  // Rows of x and of every output whose bytes are a multiple of every storage alignment.
  std::int64_t row_unit() const {
    std::int64_t unit = kRowUnit / std::gcd(kRowUnit, l_.depth);
    for (const LinearPart& part : l_.parts)
      unit = std::max(unit, kRowUnit / std::gcd(kRowUnit, part.columns));
    return unit;
  }

  // Large sums come in sections, which share their memory: two, or such of many tiles.
  std::int64_t rows_for_memory(const LinearRoute& route) const {
    constexpr std::int64_t kLarge = 16 << 20, kManyTiles = 1024;
    if (route.splits == 0 || 4 * sums_count(route, {0, panels_, 0, l_.rows}) <= kLarge) {
      return l_.rows;
    }
    const std::int64_t half = round_up(div_up(l_.rows, std::int64_t{2}), route.rows);
    const std::int64_t blocks = div_up(panels_ * kQuadsPerPanel, route.quads);
    return std::min(half, div_up(kManyTiles, blocks) * route.rows);
  }

  // Elements of a row that gemm_half_rows leaves.
  std::int64_t half_depth() const { return round_up(l_.depth, kMatrixDepth); }

  // --- Emission ---

  // The rows in f16 and normed, as gemm_matrices reads them, with room for whole tiles.
  BufferRef emit_half_rows(const LinearRoute& route, std::int64_t first_row, std::int64_t rows) {
    const std::int64_t padded = round_up(rows, route.rows);
    const BufferRef out = c_.scratch(static_cast<std::uint64_t>(2 * padded * half_depth()));
    const std::int64_t wg = c_.workgroup_size(l_.depth >= 1024 ? 256 : 64);
    KernelCall& k = c_.emit("gemm_half_rows");
    k.define("WG", wg).define("FOLD", std::min<std::int64_t>(wg, 16));
    k.define("NORM", l_.norm_weight ? 1 : 0);
    bind_x(k, first_row, rows);
    k.write("out", out);
    if (l_.norm_weight) k.read("norm_weight", *l_.norm_weight);
    k.params({{"rows", rows},
              {"quads", l_.depth / 4},
              {"padded_quads", half_depth() / 4},
              {"eps", l_.norm_eps}});
    k.groups(rows);
    return out;
  }

  void emit(const Packed& packed, const LinearRoute& route, const Section& section) {
    KernelCall& k = c_.emit(route.kernel);
    define_type(k, route);
    define_form(k, l_.outs.size());
    if (l_.attention)
      k.read("x", l_.attention->partials);
    else
      bind_x(k, section.first_row, section.rows);
    bind_weights(k, packed, section);
    if (l_.norm_weight) {
      k.define("NORM", 1).read("norm_weight", *l_.norm_weight);
      k.param("eps", l_.norm_eps);
    }
    bind_results(k, packed, section);
    k.param("first_panel", section.first_panel);
    const Blocks blocks = put_params(k, route.params, route, section);
    if (route.fixed) k.fix_params();
    if (l_.attention) bind_merge(k, *l_.attention, route.fixed);
    k.groups(blocks.columns * blocks.rows);
  }

  // In f16: x is prepared once for all panels.
  void emit_matrices(const Packed& packed, const LinearRoute& route, const Section& section,
                     BufferRef halves) {
    KernelCall& k = c_.emit(route.kernel);
    define_type(k, route);
    define_form(k, 1);
    k.read("x", halves);
    bind_weights(k, packed, section);
    const BufferRef sums = c_.scratch(4 * static_cast<std::uint64_t>(sums_count(route, section)));
    k.write("out0", sums);
    const Blocks blocks = put_params(k, route.params, route, section);
    k.groups(blocks.columns * blocks.rows * route.splits);
    emit_join(packed, route, section, sums);
  }
  // What gemm_matrices writes: whole tiles, once for each split.
  std::int64_t sums_count(const LinearRoute& route, const Section& section) const {
    const std::int64_t columns =
        div_up(section.panels * kQuadsPerPanel, route.quads) * route.quads * 4 * (l_.gated ? 2 : 1);
    return route.splits * round_up(section.rows, route.rows) * columns;
  }

  void emit_join(const Packed& packed, const LinearRoute& route, const Section& section,
                 BufferRef sums) {
    const std::int64_t wg = c_.workgroup_size(64);
    KernelCall& k = c_.emit("gemm_join");
    const bool wide =
        std::ranges::all_of(l_.parts, [](const LinearPart& part) { return part.columns % 4 == 0; });
    const std::int64_t matrices = l_.gated ? 2 : 1;
    k.define("WG", wg).define("WEIGHT", "none").define("XTYPE", "F4").define("WIDE", wide ? 1 : 0);
    k.define("TILE", route.rows).define("COLUMN_QUADS", matrices * route.quads);
    k.define("SPLITS", route.splits).define("MATS", matrices);
    define_form(k, l_.outs.size());
    k.read("x", sums);
    bind_results(k, packed, section);
    k.param("first_panel", section.first_panel);
    const Blocks blocks = put_params(k, kOfJoin, route, section);
    k.groups(div_up(section.rows * blocks.columns * route.quads, wg));
  }

  struct Blocks {
    std::int64_t columns, rows;
  };
  // Gives `wanted` of those params that only some kernels know, and those that all do.
  Blocks put_params(KernelCall& k, std::span<const Literal> wanted, const LinearRoute& route,
                    const Section& section) const {
    const Blocks blocks{div_up(section.panels * kQuadsPerPanel, route.quads),
                        div_up(section.rows, route.rows)};
    const std::int64_t steps = div_up(l_.depth, type_.step);
    for (const Param& param :
         {Param{"rows", section.rows}, Param{"row_blocks", blocks.rows}, Param{"steps", steps},
          Param{"group_steps", std::max<std::int64_t>(steps / groups_, 1)},
          Param{"group_size", l_.group_size > 0 ? l_.group_size : l_.depth}}) {
      if (std::ranges::find(wanted, param.member.name) != wanted.end()) k.params({param});
    }
    k.params({{"blocks", blocks.columns}, {"pair_panels", l_.gated ? starts_[1] : 0}});
    put_parts(k);
    return blocks;
  }

  // x in parts, whose count follows the live position.
  void bind_merge(KernelCall& k, const SplitAttention& a, bool fixed) const {
    k.define("MERGE", 1);
    k.define("KEYS", a.keys).define("SPLIT", a.split).define("SPLITS", a.splits);
    k.define("DV4", a.head_dim / 4).define("QUADS", l_.depth / 4).define("AHEAD", fixed ? 4 : 1);
    k.scalar("position", a.position);
  }

  void define_type(KernelCall& k, const LinearRoute& route) const {
    for (const auto& [name, value] : route.defines) k.define(name, value);
    k.define("WEIGHT", type_.name).define("XTYPE", route.x_type);
  }
  void define_form(KernelCall& k, std::size_t outputs) const {
    k.define("GATED", l_.gated ? 1 : 0).define("PARTS", outputs);
  }

  // A section's part of a buffer, or all.
  ByteRange rows_range(std::int64_t first, std::int64_t rows, std::int64_t columns) const {
    if (rows == l_.rows) return {};
    return {static_cast<std::uint64_t>(4 * first * columns),
            static_cast<std::uint64_t>(4 * rows * columns)};
  }
  ByteRange panels_range(const Section& s, std::int64_t words) const {
    if (s.panels == panels_) return {};
    const std::uint64_t bytes = kPanelRowBytes * static_cast<std::uint64_t>(words);
    return {bytes * static_cast<std::uint64_t>(s.first_panel),
            bytes * static_cast<std::uint64_t>(s.panels)};
  }
  // The part of an input, of `columns` to a row, that a section reads.
  ByteRange input_range(const LinearInput& input, std::int64_t first_row, std::int64_t rows,
                        std::int64_t columns) const {
    ByteRange at = rows_range(first_row, rows, columns);
    if (input.first_element == 0) return at;
    at.offset += static_cast<std::uint64_t>(4 * input.first_element);
    return {at.offset, static_cast<std::uint64_t>(4 * rows * columns)};
  }
  void bind_x(KernelCall& k, std::int64_t first_row, std::int64_t rows) const {
    k.read("x", l_.x.buffer, input_range(l_.x, first_row, rows, l_.depth));
  }
  void bind_weights(KernelCall& k, const Packed& packed, const Section& s) const {
    k.read("weights", packed.weights, panels_range(s, words_));
    if (packed.scales)
      k.define("SCALES", 1).read("scales", *packed.scales, panels_range(s, groups_));
    k.params({{"k", l_.depth}, {"groups", groups_}, {"words", words_}});
  }
  void bind_results(KernelCall& k, const Packed& packed, const Section& s) const {
    constexpr Literal kOuts[] = {"out0", "out1", "out2"};
    if (packed.bias) k.define("BIAS", 1).read("bias", *packed.bias);
    if (l_.residual) {
      k.define("RESIDUAL", 1);
      k.read("residual", l_.residual->buffer,
             input_range(*l_.residual, s.first_row, s.rows, l_.parts[0].columns));
    }
    for (std::size_t i = 0; i < l_.outs.size(); ++i)
      k.write(kOuts[i], l_.outs[i], rows_range(s.first_row, s.rows, l_.parts[i].columns));
  }

  void put_parts(KernelCall& k) const {
    constexpr std::int64_t kNoPanel = UINT32_MAX;
    Extents start{kNoPanel, kNoPanel, kNoPanel, kNoPanel}, columns{};
    for (std::size_t i = 0; i < l_.outs.size(); ++i) {
      start[i] = starts_[i];
      columns[i] = l_.parts[i].columns;
    }
    k.params({{"part_start", start},
              {"part_columns", columns},
              {"part_stride", columns},
              {"part_offset", Extents{}}});
  }

  LowerContext& c_;
  const Linear& l_;
  const WeightType type_;
  std::int64_t words_ = 0, groups_ = 1;
  std::int64_t panels_ = 0;           // of all parts; of one part if gated
  std::vector<std::int64_t> starts_;  // by part: its first panel
};

// --- Weights too large for a binding in another way than by their rows ---

// Words of a panel's row of weights or of scales, whichever are more.
std::int64_t panel_row_words(const Linear& l) {
  const std::int64_t groups = l.group_size > 0 ? l.depth / l.group_size : 1;
  return std::max(div_up(l.depth, panel_elements(l.packing)), groups);
}

std::int64_t binding_limit(const LowerContext& c) {
  return static_cast<std::int64_t>(c.capabilities().max_storage_binding);
}

// Gate and up are read through one binding.
bool gate_fits_binding(const LowerContext& c, const Linear& l) {
  const std::int64_t panels = 2 * div_up(l.parts[0].columns, kPanel);
  return panels * panel_row_words(l) <= binding_limit(c) / std::int64_t{kPanelRowBytes};
}

// As two layers, and silu(gate) * up by itself.
Result<void> lower_gate_apart(LowerContext& c, const Linear& linear) {
  const std::int64_t count = linear.rows * linear.parts[0].columns;
  std::vector<Operand> halves;
  for (const LinearPart& part : linear.parts) {
    Linear half = linear;
    half.gated = false;
    half.parts = {part};
    half.outs = {c.scratch(4 * static_cast<std::uint64_t>(count))};
    TRY(lower_linear(c, half));
    halves.push_back({.kind = Operand::Kind::Tensor, .buffer = half.outs[0]});
  }
  const Elementwise product{.expression = "a * sigmoid(a) * b", .library = "sigmoid"};
  emit_elementwise(c, product, halves, {{count, {1, 1, 0}}}, {linear.outs[0]});
  return {};
}

// Elements of K whose panels fit a binding, in whole words and scale groups.
std::int64_t panel_depth_limit(const LowerContext& c, const Linear& l) {
  constexpr std::int64_t kUnit = 64;  // elements of x whose bytes suit every alignment
  const std::int64_t words = binding_limit(c) / std::int64_t{kPanelRowBytes};
  if (panel_row_words(l) <= words) return l.depth;
  const bool grouped = l.group_size > 0 && l.group_size < l.depth;
  const std::int64_t unit = grouped ? std::lcm(kUnit, l.group_size) : kUnit;
  return words * panel_elements(l.packing) / unit * unit;
}

// x[:, first : first + count].
LinearInput cut_columns(LowerContext& c, const Linear& l, std::int64_t first, std::int64_t count) {
  if (l.rows == 1) return {l.x.buffer, l.x.first_element + first};
  const BufferRef out = c.scratch(4 * static_cast<std::uint64_t>(l.rows * count));
  const Loops loops{{l.rows, {l.depth, 0, 0}}, {count, {1, 0, 0}}};
  emit_copy(c, {l.x.buffer}, l.x.first_element + first, loops, {out});
  return {out};
}

// One output as a sum over pieces of K, each added to the one before.
Result<void> lower_part_by_depth(LowerContext& c, const Linear& linear, std::size_t part,
                                 std::int64_t step) {
  Linear piece = linear;
  for (std::int64_t first = 0; first < linear.depth; first += step) {
    const std::int64_t count = std::min(step, linear.depth - first);
    const bool is_last = first + count == linear.depth;
    piece.parts = {linear.parts[part]};
    piece.parts[0].weight.first_k = first;
    piece.parts[0].weight.count_k = count;
    if (first > 0) piece.parts[0].bias = std::nullopt;
    piece.depth = count;
    if (piece.group_size > 0) piece.group_size = count;
    piece.x = cut_columns(c, linear, first, count);
    const auto bytes = 4 * static_cast<std::uint64_t>(linear.rows * linear.parts[part].columns);
    piece.outs = {is_last ? linear.outs[part] : c.scratch(bytes)};
    TRY(lower_linear(c, piece));
    piece.residual = LinearInput{piece.outs[0]};
  }
  return {};
}

Result<void> lower_by_depth(LowerContext& c, const Linear& linear) {
  const std::int64_t step = panel_depth_limit(c, linear);
  const bool grouped = linear.group_size > 0 && linear.group_size < linear.depth;
  CHECK_OR_FAIL(step > 0 && !grouped && !linear.norm_weight && !linear.attention,
                ErrorKind::NotSupported, "a weight of ", linear.depth,
                " elements per output row does not fit this device's storage binding of ",
                binding_limit(c), " bytes");
  for (std::size_t part = 0; part < linear.parts.size(); ++part)
    TRY(lower_part_by_depth(c, linear, part, step));
  return {};
}

}  // namespace

Result<void> lower_linear(LowerContext& c, const Linear& linear) {
  if (linear.gated && !gate_fits_binding(c, linear)) return lower_gate_apart(c, linear);
  if (panel_depth_limit(c, linear) < linear.depth) return lower_by_depth(c, linear);
  return Lowering(c, linear).run();
}

Result<Dims> linear_sizes(const Dims& x, std::size_t out_rank, std::int64_t n) {
  CHECK_OR_FAIL(x.rank() >= 1, ErrorKind::InvalidProgram, "x must have at least one dimension");
  Dims out = x;
  out[x.rank() - 1] = n;
  if (out_rank == x.rank()) return out;
  CHECK_OR_FAIL(out_rank == 2, ErrorKind::InvalidProgram, "an output of rank ", out_rank,
                " does not follow from x of sizes ", to_string(x));
  return Dims{linear_rows(x), n};
}

}  // namespace etwebgpu
