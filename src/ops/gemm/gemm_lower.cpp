#include "ops/gemm/gemm_lower.h"

#include <algorithm>
#include <numeric>
#include <span>

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

// Rows as gemm_matrices reads them; if they are split, what they and the columns are relative to.
struct Halves {
  BufferRef rows;
  std::optional<BufferRef> factors = {};
};

// Params of gemm_join that not all kernels have.
constexpr Literal kOfJoin[] = {"rows", "row_blocks"};

// Rows that lie one after the other.
GemmDoor plain_rows(const Gemm& g) {
  return {.fragment = "gemm_rows_plain",
          .buffers = {{"x", g.x.buffer, g.depth, g.x.first_element}}};
}

// Results row by row, an output for each part.
GemmDoor stored_rows(const Gemm& g, std::span<const std::int64_t> starts) {
  constexpr Literal kOuts[] = {"out0", "out1", "out2"};
  constexpr std::int64_t kNoPanel = UINT32_MAX;
  Extents start{kNoPanel, kNoPanel, kNoPanel, kNoPanel}, columns{};
  GemmDoor door{.fragment = "gemm_store_rows"};
  for (std::size_t i = 0; i < g.outs.size(); ++i) {
    start[i] = starts[i];
    columns[i] = g.parts[i].columns;
    door.buffers.push_back({kOuts[i], g.outs[i], columns[i]});
  }
  door.params = {{"part_start", start}, {"part_columns", columns}};
  door.defines = {{"PARTS", static_cast<std::int64_t>(g.outs.size())}};
  return door;
}

// True if a dispatch may have some of the rows.
bool is_cut_by_rows(const GemmDoor& door) {
  return door.first_row.has_value() ||
         std::ranges::all_of(door.buffers, [](const auto& b) { return b.row_elements > 0; });
}

std::int64_t widest_row(const GemmDoor& door) {
  std::int64_t widest = 0;
  for (const GemmDoor::Buffer& buffer : door.buffers)
    widest = std::max(widest, buffer.row_elements);
  return widest;
}

// Rows whose bytes in every buffer are a multiple of every storage alignment.
std::int64_t row_unit(const GemmDoor& door) {
  std::int64_t unit = 1;
  for (const GemmDoor::Buffer& buffer : door.buffers)
    if (buffer.row_elements > 0)
      unit = std::max(unit, kRowUnit / std::gcd(kRowUnit, buffer.row_elements));
  return unit;
}

class Lowering {
 public:
  Lowering(LowerContext& c, const Gemm& gemm) : c_(c), g_(gemm), type_(weight_type(gemm.packing)) {
    words_ = panel_words(g_.packing, g_.parts[0].weight);
    groups_ = g_.group_size > 0 ? g_.depth / g_.group_size : 1;
    scale_words_ = has_half_scales() ? div_up(groups_, std::int64_t{2}) : groups_;
    for (const GemmPart& part : g_.parts) {
      starts_.push_back(panels_);
      panels_ += div_up(part.columns, kPanel);
    }
    if (g_.gated) panels_ = starts_[1];
    x_ = g_.x_door ? *g_.x_door : plain_rows(g_);
    out_ = g_.out_door ? *g_.out_door : stored_rows(g_, starts_);
  }

  Result<void> run() {
    TRY_ASSIGN(const Packed packed, pack());
    if (g_.rows == 0 || panels_ == 0) return {};
    const GemmRoute route = choose_gemm_route(c_, g_, panels_);
    TRY_ASSIGN(const std::int64_t panels, panels_per_binding(route));
    TRY_ASSIGN(const std::int64_t bound, rows_per_binding(route));
    const std::int64_t rows = std::min(bound, rows_for_memory(route));
    for (std::int64_t row = 0; row < g_.rows; row += rows) {
      const std::int64_t count = std::min(rows, g_.rows - row);
      std::optional<Halves> halves;
      if (route.splits > 0 && route.x_terms > 0) halves = emit_halves(packed, route, row, count);
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
    PackedConstant weights{g_.packing, {}}, bias{Packing::FloatPanels, {}},
        scales{has_half_scales() ? Packing::HalfPanels : Packing::FloatPanels, {}};
    for (const GemmPart& part : g_.parts) {
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
    CHECK_OR_FAIL(constant.parts.size() == g_.parts.size(), ErrorKind::Internal,
                  "stacked matrices must all have a bias and scales, or none");
    TRY_ASSIGN(const BufferRef buffer, c_.packed(constant));
    return buffer;
  }

  // Scales that were exported in f16 stay so: with groups of 32, every tenth byte of a 4-bit
  // weight.
  bool has_half_scales() const {
    return std::ranges::all_of(g_.parts, [](const GemmPart& part) {
      return part.scales && part.scales->dtype == DType::Float16;
    });
  }
  Literal scale_type() const { return has_half_scales() ? Literal("f16") : Literal("f32"); }

  // --- Sections ---

  std::int64_t binding_limit() const {
    return static_cast<std::int64_t>(c_.capabilities().max_storage_binding);
  }

  Result<std::int64_t> panels_per_binding(const GemmRoute& route) const {
    const auto bytes = static_cast<std::int64_t>(kPanelRowBytes) * std::max(words_, scale_words_);
    // Column blocks of several panels begin with a binding.
    const std::int64_t unit = std::max<std::int64_t>(1, route.quads / kQuadsPerPanel);
    CHECK_OR_FAIL(unit * bytes <= binding_limit(), ErrorKind::NotSupported, "a weight of ",
                  g_.depth,
                  " elements per output row does not fit this device's storage "
                  "binding of ",
                  binding_limit(), " bytes");
    return binding_limit() / bytes / unit * unit;
  }

  Result<std::int64_t> rows_per_binding(const GemmRoute& route) const {
    std::int64_t widest = std::max(widest_row(x_), widest_row(out_));
    if (route.splits > 0) {  // its sums are the widest, and come in whole tiles
      widest = std::max({widest, route.x_terms * half_depth() / 2,
                         sums_count(route, {0, panels_, 0, 1}) / route.rows});
    }
    if (widest == 0) return g_.rows;
    const std::int64_t limit = binding_limit();
    const std::int64_t words = storage_elements(Storage::F32, static_cast<std::uint64_t>(limit));
    const std::int64_t rows = words / widest - (route.splits > 0 ? route.rows : 0);
    if (rows >= g_.rows) return g_.rows;
    const std::int64_t unit = std::max(row_unit(x_), row_unit(out_));
    CHECK_OR_FAIL(rows >= unit && is_cut_by_rows(x_) && is_cut_by_rows(out_),
                  ErrorKind::NotSupported, g_.rows, " rows of ", widest,
                  " elements do not fit this device's storage binding of ", limit, " bytes");
    return rows / unit * unit;
  }

  // Large sums come in sections, which share their memory: two, or such of many tiles.
  std::int64_t rows_for_memory(const GemmRoute& route) const {
    constexpr std::uint64_t kLarge = 16 << 20;
    constexpr std::int64_t kManyTiles = 1024;
    if (route.splits == 0 || !is_cut_by_rows(x_) || !is_cut_by_rows(out_) ||
        storage_bytes(Storage::F32, sums_count(route, {0, panels_, 0, g_.rows})) <= kLarge) {
      return g_.rows;
    }
    const std::int64_t half = round_up(div_up(g_.rows, std::int64_t{2}), route.rows);
    const std::int64_t blocks = div_up(panels_ * kQuadsPerPanel, route.quads) * route.splits;
    return std::min(half, div_up(kManyTiles, blocks) * route.rows);
  }

  // Elements of a row that gemm_half_rows leaves.
  std::int64_t half_depth() const { return round_up(g_.depth, kMatrixDepth); }

  // --- Emission ---

  // The rows in f16 and normed, as gemm_matrices reads them, with room for whole tiles.
  Halves emit_halves(const Packed& packed, const GemmRoute& route, std::int64_t first_row,
                     std::int64_t rows) {
    const bool split = route.x_terms == 2;
    const std::int64_t padded_rows = round_up(rows, route.rows);
    Halves halves{c_.scratch(route.x_terms * padded_rows * half_depth(), Storage::HalfPairs)};
    const std::int64_t wg = c_.workgroup_size(g_.depth >= 1024 ? 256 : 64);
    KernelCall& k = c_.emit(split ? "gemm_split_rows" : "gemm_half_rows");
    k.define("WG", wg);
    if (g_.norm_weight) k.define("FOLD", std::min<std::int64_t>(wg, 16));
    bind_x(k, route, first_row, rows);
    std::int64_t panels = 0;
    if (split) {
      if (route.w_terms == 2) panels = panels_ * (g_.gated ? 2 : 1);
      k.define("W_TERMS", route.w_terms).define("WEIGHT", type_.name);
      k.params({{"padded_rows", padded_rows}});
    }
    if (panels > 0) {
      k.define("SCALES", scale_type()).read("scales", *packed.scales);
      k.params({{"groups", groups_}, {"panels", panels}});
    }
    k.write("out", halves.rows);
    if (split) {
      halves.factors = c_.scratch(padded_rows + panels * kPanel);
      k.write("factors", *halves.factors);
    }
    k.params({{"rows", rows}, {"k", g_.depth}, {"padded_quads", half_depth() / 4}});
    k.groups(rows + panels);
    return halves;
  }

  void emit(const Packed& packed, const GemmRoute& route, const Section& section) {
    KernelCall& k = c_.emit(route);
    k.define("GATED", g_.gated ? 1 : 0);
    if (route.by_element) k.define("ELEMENT", "f32");
    bind_x(k, route, section.first_row, section.rows, route.splits == 0);
    bind_weights(k, packed, section);
    if (route.splits > 0) return emit_splits(k, packed, route, section);
    bind_results(k, packed, section);
    k.param("first_panel", section.first_panel);
    const Blocks blocks = put_params(k, route.params, route, section);
    k.groups(blocks.columns * blocks.rows);
    if (route.fixed) k.fix_params();
  }
  // Of gemm_few_rows: sums by split, joined afterwards.
  void emit_splits(KernelCall& k, const Packed& packed, const GemmRoute& route,
                   const Section& section) {
    const BufferRef sums = c_.scratch(sums_count(route, section));
    k.write("sums", sums);
    std::optional<BufferRef> squares;
    if (g_.norm_weight) {
      squares = c_.scratch(route.splits * round_up(section.rows, route.rows));
      k.write("squares", *squares);
    }
    const Blocks blocks = put_params(k, route.params, route, section);
    k.groups(blocks.columns * blocks.rows * route.splits);
    emit_join(packed, route, section, sums, {}, squares);
  }

  // On matrix units: x is prepared once for all panels.
  void emit_matrices(const Packed& packed, const GemmRoute& route, const Section& section,
                     const Halves& halves) {
    KernelCall& k = c_.emit(route);
    k.define("GATED", g_.gated ? 1 : 0).read("x", halves.rows);
    if (route.w_terms == 2) {
      k.read("factors", *halves.factors).param("first_panel", section.first_panel);
    }
    bind_weights(k, packed, section);
    const BufferRef sums = c_.scratch(sums_count(route, section));
    k.write("sums", sums);
    const Blocks blocks = put_params(k, route.params, route, section);
    k.groups(blocks.columns * blocks.rows * route.splits);
    emit_join(packed, route, section, sums, halves.factors, {});
  }
  // What gemm_matrices writes: whole tiles, once for each split.
  std::int64_t sums_count(const GemmRoute& route, const Section& section) const {
    const std::int64_t columns =
        div_up(section.panels * kQuadsPerPanel, route.quads) * route.quads * 4 * (g_.gated ? 2 : 1);
    return route.splits * round_up(section.rows, route.rows) * columns;
  }

  void emit_join(const Packed& packed, const GemmRoute& route, const Section& section,
                 BufferRef sums, std::optional<BufferRef> factors,
                 std::optional<BufferRef> squares) {
    const std::int64_t wg = c_.workgroup_size(64);
    KernelCall& k = c_.emit("gemm_join");
    const std::int64_t matrices = g_.gated ? 2 : 1;
    k.define("WG", wg).define("GATED", g_.gated ? 1 : 0).define("TILE", route.rows);
    k.define("COLUMN_QUADS", matrices * route.quads);
    k.define("SPLITS", route.splits).define("MATS", matrices);
    if (!g_.out_door && are_columns_whole()) k.define("WIDE", 1);
    k.define("X_TERMS", std::max<std::int64_t>(route.x_terms, 1)).define("W_TERMS", route.w_terms);
    k.read("sums", sums);
    if (factors) k.read("factors", *factors);
    if (squares)
      k.define("SQUARES", 1)
          .read("squares", *squares)
          .param("k", g_.depth)
          .param("eps", g_.norm_eps);
    bind_results(k, packed, section);
    k.param("first_panel", section.first_panel);
    const Blocks blocks = put_params(k, kOfJoin, route, section);
    k.groups(div_up(section.rows * blocks.columns * route.quads, wg));
  }
  bool are_columns_whole() const {
    return std::ranges::all_of(g_.parts,
                               [](const GemmPart& part) { return part.columns % 4 == 0; });
  }

  struct Blocks {
    std::int64_t columns, rows;
  };
  // Gives `wanted` of those params that only some kernels know, and those that all do.
  Blocks put_params(KernelCall& k, std::span<const Literal> wanted, const GemmRoute& route,
                    const Section& section) const {
    const Blocks blocks{div_up(section.panels * kQuadsPerPanel, route.quads),
                        div_up(section.rows, route.rows)};
    const std::int64_t steps = div_up(g_.depth, type_.step);
    for (const Param& param : {Param{"rows", section.rows}, Param{"row_blocks", blocks.rows},
                               Param{"steps", steps}, Param{"split_steps", route.split_steps},
                               Param{"group_steps", std::max<std::int64_t>(steps / groups_, 1)},
                               Param{"group_size", g_.group_size > 0 ? g_.group_size : g_.depth}}) {
      if (std::ranges::find(wanted, param.member.name) != wanted.end()) k.params({param});
    }
    k.params({{"blocks", blocks.columns}, {"pair_panels", g_.gated ? starts_[1] : 0}});
    return blocks;
  }

  ByteRange panels_range(const Section& s, std::int64_t words) const {
    if (s.panels == panels_) return {};
    const std::uint64_t bytes = kPanelRowBytes * static_cast<std::uint64_t>(words);
    return {bytes * static_cast<std::uint64_t>(s.first_panel),
            bytes * static_cast<std::uint64_t>(s.panels)};
  }
  // What so many rows of a section have of a buffer.
  ByteRange rows_range(const GemmDoor::Buffer& buffer, std::int64_t first_row,
                       std::int64_t rows) const {
    const bool all = rows == g_.rows || buffer.row_elements == 0;
    if (all && buffer.first_element == 0) return {};
    return elements_range(buffer.first_element + first_row * buffer.row_elements,
                          rows * buffer.row_elements);
  }

  void enter(KernelCall& k, const GemmDoor& door, std::int64_t first_row) const {
    for (const auto& [name, value] : door.defines) k.define(name, value);
    for (const Param& param : door.params) k.params({param});
    if (door.scalar) k.scalar(door.scalar->name, door.scalar->value);
    if (door.first_row) k.param(*door.first_row, first_row);
    if (!door.activation) return;
    k.define("BETWEEN", door.activation->expression);
    use_library(k, *door.activation);
    k.params({{"between_x", door.activation->x}, {"between_y", door.activation->y}});
  }
  // `is_whole`: a workgroup has all of a row, so that it can norm it.
  void bind_x(KernelCall& k, const GemmRoute& route, std::int64_t first_row, std::int64_t rows,
              bool is_whole = true) const {
    if (g_.x_door) k.define("LOAD", x_.fragment);
    if (route.staged_rows > 0) k.define("STAGED", route.staged_rows);
    enter(k, x_, first_row);
    for (const GemmDoor::Buffer& b : x_.buffers)
      k.read(b.name, b.buffer, rows_range(b, first_row, rows));
    if (!g_.norm_weight) return;
    k.define("NORM", 1).read("norm_weight", *g_.norm_weight);
    if (is_whole) k.param("eps", g_.norm_eps);
  }
  void bind_weights(KernelCall& k, const Packed& packed, const Section& s) const {
    k.define("WEIGHT", type_.name).read("weights", packed.weights, panels_range(s, words_));
    if (packed.scales)
      k.define("SCALES", scale_type())
          .read("scales", *packed.scales, panels_range(s, scale_words_));
    k.params({{"k", g_.depth}, {"groups", groups_}, {"words", words_}});
  }
  void bind_results(KernelCall& k, const Packed& packed, const Section& s) const {
    if (g_.out_door) k.define("STORE", out_.fragment);
    enter(k, out_, s.first_row);
    if (packed.bias) k.define("BIAS", 1).read("bias", *packed.bias);
    if (g_.residual) {
      const std::int64_t row = g_.out_door ? 0 : g_.parts[0].columns;
      const GemmDoor::Buffer from{"residual", g_.residual->buffer, row, g_.residual->first_element};
      k.define("RESIDUAL", 1).read(from.name, from.buffer, rows_range(from, s.first_row, s.rows));
    }
    if (g_.activation) apply(k, *g_.activation);
    for (const GemmDoor::Buffer& b : out_.buffers)
      k.write(b.name, b.buffer, rows_range(b, s.first_row, s.rows));
  }

  LowerContext& c_;
  const Gemm& g_;
  const WeightType type_;
  GemmDoor x_, out_;
  std::int64_t words_ = 0, groups_ = 1, scale_words_ = 1;
  std::int64_t panels_ = 0;           // of all parts; of one part if gated
  std::vector<std::int64_t> starts_;  // by part: its first panel
};

}  // namespace

Result<void> lower_fitting_gemm(LowerContext& c, const Gemm& gemm) {
  return Lowering(c, gemm).run();
}

}  // namespace etwebgpu
