// The choice of a linear layer's kernel, and its parameters.
#include <algorithm>
#include <array>
#include <span>

#include "ops/linear.h"

namespace etwebgpu {
namespace {

constexpr std::int64_t kQuadsPerPanel = kPanel / 4;
constexpr std::int64_t kRowUnit = 64;  // rows whose bytes are a multiple of every storage alignment

struct WeightType {
  std::string_view name;       // WEIGHT of the kernels
  std::int64_t step;           // elements of K per loop step
  std::int64_t loads, halves;  // words, and groups of four elements, per step
};

WeightType weight_type(Packing packing) {
  switch (packing) {
    case Packing::Q4Panels:
      return {"q4", 8, 1, 2};
    case Packing::Q8Panels:
      return {"q8", 4, 1, 1};
    case Packing::HalfPanels:
      return {"f16", 4, 2, 1};
    default:
      return {"f32", 4, 4, 1};
  }
}

struct Packed {
  BufferRef weights;
  std::optional<BufferRef> scales, bias;
};

// How a kernel divides the work. A column block is `quads` groups of four columns (of each matrix
// if gated).
struct Route {
  std::string_view kernel;
  std::int64_t quads = kQuadsPerPanel;
  std::int64_t rows = 1;  // per row block
  std::vector<std::pair<std::string_view, std::int64_t>> defines;
  bool scalar_x = false;  // x is read by element, not in fours
};

// A dispatch: these panels and these rows.
struct Section {
  std::int64_t first_panel, panels, first_row, rows;
};

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
    const Route route = choose();
    TRY_ASSIGN(const std::int64_t panels, panels_per_binding());
    TRY_ASSIGN(const std::int64_t rows, rows_per_binding());
    for (std::int64_t row = 0; row < l_.rows; row += rows)
      for (std::int64_t panel = 0; panel < panels_; panel += panels)
        emit(packed, route,
             {panel, std::min(panels, panels_ - panel), row, std::min(rows, l_.rows - row)});
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

  // --- Routes ---

  Route choose() const {
    const std::int64_t group = l_.group_size > 0 ? l_.group_size : l_.depth;
    if (group % type_.step != 0) {
      return {"linear_any", kQuadsPerPanel, 1, {{"ELEMENTS", panel_elements(l_.packing)}}, true};
    }
    if (c_.capabilities().adapter_class == AdapterClass::Software) return columns();
    if (l_.rows == 1) return gemv();
    return takes_matrices() ? matrices() : gemm();
  }

  // An invocation per four columns and up to 8 rows, without barriers.
  Route columns() const {
    const Capabilities& caps = c_.capabilities();
    const bool eight = caps.min_subgroup_size >= 8 && l_.packing == Packing::Q4Panels;
    const std::int64_t lanes = !caps.subgroups ? 0 : eight ? 8 : 4;
    const std::int64_t most =
        lanes == 0 ? 4 : 8;  // without broadcasts x is what costs, not the weights
    const std::int64_t rows = std::min(
        most, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(l_.rows))));
    return {
        "linear_columns", kQuadsPerPanel, rows, {{"ROWS", rows}, {"XLANES", lanes}}, lanes != 0};
  }

  // A workgroup per 8 to 64 columns; fewer columns where that keeps more of a GPU busy. All loads
  // of up to four steps are in flight together, of one where the invocations suffice.
  Route gemv() const {
    constexpr std::int64_t kManyBlocks = 192, kMostUnrolled = 4;
    const std::int64_t quads = panels_ * kQuadsPerPanel, steps = l_.depth / type_.step;
    const std::int64_t run = subgroup_run();
    std::int64_t lanes = 16;
    while (lanes > 2 && quads / lanes < kManyBlocks) lanes /= 2;
    lanes = run > 0 ? std::min(lanes, run) : lanes;
    const std::int64_t most = c_.workgroup_size(run > 0 ? 512 : 256);
    auto invocations = [&](std::int64_t unroll) {
      const auto wanted = static_cast<std::uint64_t>(lanes * div_up(steps, unroll));
      return run > 0 ? round_up(wanted, static_cast<std::uint64_t>(run))
                     : std::max<std::uint64_t>(64, std::bit_ceil(wanted));
    };
    std::int64_t unroll = 1;
    while (unroll < kMostUnrolled && invocations(unroll) > static_cast<std::uint64_t>(most))
      ++unroll;
    const std::int64_t wg = std::min(most, static_cast<std::int64_t>(invocations(unroll)));
    const std::int64_t slices = wg / lanes;
    return {"linear_gemv",
            lanes,
            1,
            {{"ROWS", 1},
             {"XLANES", 0},
             {"LANES", lanes},
             {"SLICES", slices},
             {"WG", wg},
             {"UNROLL", unroll},
             {"LOOP", steps > slices * unroll ? 1 : 0},
             {"FETCHED", 1},
             {"RUN", run},
             {"RUNS", run > 0 ? wg / run : 0}}};
  }
  // Neighbouring invocations that are surely in one subgroup.
  std::int64_t subgroup_run() const {
    const Capabilities& caps = c_.capabilities();
    return caps.subgroups ? static_cast<std::int64_t>(std::bit_floor(caps.min_subgroup_size)) : 0;
  }

  // A workgroup per tile; smaller tiles, and several groups of invocations for each, where that
  // keeps more of a GPU busy.
  Route gemm() const {
    constexpr std::int64_t kDepth = 32, kBytesPerRow = 4 * kDepth;  // staged at a time
    constexpr std::int64_t kManyBlocks = 256;
    const Capabilities& caps = c_.capabilities();
    const std::int64_t columns = panels_ * (l_.gated ? 2 : 1);
    auto blocks = [&](std::int64_t tile) { return columns * div_up(l_.rows, tile); };
    auto fits = [&](std::int64_t tile) {
      return (tile + kPanel) * kBytesPerRow <= caps.max_workgroup_storage &&
             is_size(tile_lanes(tile)) && blocks(tile) * 64 >= tile * kManyBlocks;
    };
    std::int64_t tile = 128;
    while (tile > 16 && (tile >= 2 * l_.rows || !fits(tile))) tile /= 2;
    std::int64_t split = tile <= 32 ? 4 : 1;
    while (split > 1 && (!is_size(tile_lanes(tile) * split) ||
                         blocks(tile) * tile_lanes(tile) * split > 256 * kManyBlocks)) {
      split /= 2;
    }
    const std::int64_t wg = tile_lanes(tile) * split, words = kDepth / panel_elements(l_.packing);
    return {"linear_gemm",
            l_.gated ? kQuadsPerPanel / 2 : kQuadsPerPanel,
            tile,
            {{"TILE", tile},
             {"VECTORS", tile_vectors(tile)},
             {"KSPLIT", split},
             {"WG", wg},
             {"X_TASKS", div_up(2 * tile, wg)},
             {"WORDS", words},
             {"W_TASKS", div_up(kQuadsPerPanel * words, wg)}}};
  }
  // Not for weights of f32, and few rows would leave most of a tile empty.
  bool takes_matrices() const {
    constexpr std::int64_t kFewest = 17;
    const Capabilities& caps = c_.capabilities();
    return multiplies_in_f16(c_) && l_.packing != Packing::FloatPanels && l_.rows >= kFewest &&
           matrices_bytes(4 * std::int64_t{caps.matrix_size}) <= caps.max_workgroup_storage;
  }
  std::int64_t matrices_bytes(std::int64_t tile) const {
    const std::int64_t size = c_.capabilities().matrix_size;
    return 2 * 40 * (tile + kPanel) + 4 * 4 * 2 * size * size + (l_.norm_weight ? 4 * 8 * tile : 0);
  }
  // A workgroup of four subgroups per tile; smaller tiles where that keeps more of a GPU busy.
  Route matrices() const {
    constexpr std::int64_t kDepth = 32, kManyBlocks = 256;
    const Capabilities& caps = c_.capabilities();
    const std::int64_t size = caps.matrix_size, wg = 4 * caps.min_subgroup_size;
    const std::int64_t columns = panels_ * (l_.gated ? 2 : 1);
    std::int64_t tile = 128;
    while (tile > 4 * size &&
           (tile >= 2 * l_.rows || columns * div_up(l_.rows, tile) < kManyBlocks ||
            matrices_bytes(tile) > caps.max_workgroup_storage)) {
      tile /= 2;
    }
    return {"linear_matrices",
            l_.gated ? kQuadsPerPanel / 2 : kQuadsPerPanel,
            tile,
            {{"MATRIX", size},
             {"SUBGROUP", caps.min_subgroup_size},
             {"WG", wg},
             {"TILE", tile},
             {"ROW_MATRICES", tile / (4 * size)},
             {"PAIRS", kDepth / size},
             {"DEPTHS", kDepth / size},
             {"X_TASKS", 8 * tile / wg},
             {"W_TASKS", 128 / wg},
             {"WORDS", kDepth / panel_elements(l_.packing)}}};
  }
  static std::int64_t tile_vectors(std::int64_t tile) { return tile >= 64 ? 2 : 1; }
  static std::int64_t tile_lanes(std::int64_t tile) { return 2 * tile / tile_vectors(tile); }
  bool is_size(std::int64_t wg) const {
    return wg <= c_.workgroup_size(static_cast<std::uint32_t>(wg));
  }

  // --- Sections ---

  Result<std::int64_t> panels_per_binding() const {
    const auto limit = static_cast<std::int64_t>(c_.capabilities().max_storage_binding);
    const auto bytes = static_cast<std::int64_t>(kPanelRowBytes) * std::max(words_, groups_);
    CHECK_OR_FAIL(bytes <= limit && (!l_.gated || 2 * panels_ * bytes <= limit),
                  ErrorKind::NotSupported, "a weight of ", l_.depth,
                  " elements per output row does not fit this device's storage "
                  "binding of ",
                  limit, " bytes");
    return limit / bytes;
  }

  Result<std::int64_t> rows_per_binding() const {
    const auto limit = static_cast<std::int64_t>(c_.capabilities().max_storage_binding);
    std::int64_t widest = l_.depth;
    for (const LinearPart& part : l_.parts) widest = std::max(widest, part.columns);
    const std::int64_t rows = limit / (4 * widest);
    if (rows >= l_.rows) return l_.rows;
    CHECK_OR_FAIL(rows >= kRowUnit, ErrorKind::NotSupported, kRowUnit, " rows of ", widest,
                  " elements do not fit this device's storage binding of ", limit, " bytes");
    return rows / kRowUnit * kRowUnit;
  }

  // --- Emission ---

  void emit(const Packed& packed, const Route& route, const Section& section) {
    KernelCall& k = c_.emit(route.kernel);
    define_type(k, route);
    bind(k, packed, section);
    const std::int64_t blocks = section.panels * kQuadsPerPanel / route.quads;
    const std::int64_t row_blocks = div_up(section.rows, route.rows);
    const std::int64_t steps = div_up(l_.depth, type_.step);
    k.params(section.rows, l_.depth, steps, std::max<std::int64_t>(steps / groups_, 1), groups_,
             words_, blocks, row_blocks, section.first_panel, l_.gated ? starts_[1] : 0,
             l_.group_size > 0 ? l_.group_size : l_.depth, l_.norm_eps);
    for (const auto& member : part_params()) k.params(member[0], member[1], member[2], member[3]);
    if (route.kernel == "linear_gemv") fix(k);
    k.groups(blocks * row_blocks);
  }

  void fix(KernelCall& k) const {
    k.fix_params().define("MERGE", l_.attention ? 1 : 0).define("X_STAGED", l_.attention ? 1 : 0);
    if (!l_.attention) return;
    const SplitAttention& a = *l_.attention;
    k.define("AT_POSITION", k.buffers.size()).scalar(a.position);
    k.define("KEYS", a.keys).define("SPLIT", a.split).define("SPLITS", a.splits);
    k.define("DV4", a.head_dim / 4).define("QUADS", l_.depth / 4);
  }

  void define_type(KernelCall& k, const Route& route) {
    for (const auto& [name, value] : route.defines) k.define(name, value);
    k.define("WEIGHT", type_.name).define("WTYPE", "U4").define("LOADS", type_.loads);
    k.define("HALVES", type_.halves).define("XTYPE", route.scalar_x ? "f32" : "F4");
    k.define("FAST_NIBBLES",
             route.kernel == "linear_gemv" && l_.packing == Packing::Q4Panels ? 1 : 0);
    k.define("GATED", l_.gated ? 1 : 0).define("MATS", l_.gated ? 2 : 1);
    k.define("PARTS", l_.outs.size()).define("OUTPUTS", l_.outs.size());
  }

  void bind(KernelCall& k, const Packed& packed, const Section& s) {
    const bool all_rows = s.rows == l_.rows;
    // Bytes of the section's rows of a matrix, or all of it.
    auto range = [&](std::int64_t columns) {
      return all_rows ? std::pair<std::uint64_t, std::uint64_t>{0, 0}
                      : std::pair{static_cast<std::uint64_t>(4 * s.first_row * columns),
                                  static_cast<std::uint64_t>(4 * s.rows * columns)};
    };
    auto panels = [&](std::int64_t words) {
      const std::uint64_t bytes = kPanelRowBytes * static_cast<std::uint64_t>(words);
      return s.panels == panels_ ? std::pair<std::uint64_t, std::uint64_t>{0, 0}
                                 : std::pair{bytes * static_cast<std::uint64_t>(s.first_panel),
                                             bytes * static_cast<std::uint64_t>(s.panels)};
    };
    auto read = [&](std::string_view name, BufferRef buffer,
                    std::pair<std::uint64_t, std::uint64_t> at) {
      if (!name.empty()) k.define(cat("AT_", name), k.buffers.size()).define(name, 1);
      k.read(buffer, at.first, at.second);
    };
    if (l_.attention) {
      read("", l_.attention->partials, {0, 0});
    } else {
      const auto [offset, size] = range(l_.depth);
      const auto first = static_cast<std::uint64_t>(4 * l_.first_element);
      read("", l_.x,
           {first + offset, first == 0 ? size : 4 * static_cast<std::uint64_t>(s.rows * l_.depth)});
    }
    read("", packed.weights, panels(words_));
    if (packed.scales) read("SCALES", *packed.scales, panels(groups_));
    if (packed.bias) read("BIAS", *packed.bias, {0, 0});
    if (l_.norm_weight) read("NORM", *l_.norm_weight, {0, 0});
    if (l_.residual) read("RESIDUAL", *l_.residual, range(l_.parts[0].columns));
    for (std::size_t i = 0; i < l_.outs.size(); ++i) {
      const auto [offset, size] = range(l_.parts[i].columns);
      k.define(cat("AT_OUT", i), k.buffers.size()).write(l_.outs[i], offset, size);
    }
    k.define("AT_PARAMS", k.buffers.size());
  }

  // part_start, part_columns, part_stride and part_offset of linear_params.wgsl.
  std::array<std::array<std::int64_t, 4>, 4> part_params() const {
    std::array<std::array<std::int64_t, 4>, 4> out{};
    for (std::size_t i = 0; i < 4; ++i) {
      const bool exists = i < l_.outs.size();
      out[0][i] = exists ? starts_[i] : UINT32_MAX;  // no panel lies there
      out[1][i] = out[2][i] = exists ? l_.parts[i].columns : 0;
    }
    return out;
  }

  LowerContext& c_;
  const Linear& l_;
  const WeightType type_;
  std::int64_t words_ = 0, groups_ = 1;
  std::int64_t panels_ = 0;           // of all parts; of one part if gated
  std::vector<std::int64_t> starts_;  // by part: its first panel
};

}  // namespace

Result<void> lower_linear(LowerContext& c, const Linear& linear) {
  return Lowering(c, linear).run();
}

bool multiplies_in_f16(const LowerContext& c) {
  const Capabilities& caps = c.capabilities();
  const std::uint32_t subgroup = caps.min_subgroup_size;
  return c.options().matmul == FloatType::F16 && caps.matrix_size > 0 &&
         subgroup == caps.max_subgroup_size && subgroup <= 32 &&
         c.workgroup_size(4 * subgroup) == 4 * subgroup;
}

bool takes_split_attention(const LowerContext& c, std::int64_t depth, std::int64_t group_size) {
  const Capabilities& caps = c.capabilities();
  // Beside x, workgroup memory holds a sum per invocation.
  const std::int64_t bytes = 4 * depth + 16 * std::int64_t{c.workgroup_size(512)};
  return caps.adapter_class != AdapterClass::Software && group_size % 8 == 0 &&
         bytes <= caps.max_workgroup_storage;
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
