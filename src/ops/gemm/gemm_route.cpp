#include "ops/gemm/gemm_route.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace etwebgpu {
namespace {

constexpr std::int64_t kMostInvocations = 512;  // of a workgroup for one row

std::int64_t bit_ceil(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(n)));
}

class Routing {
 public:
  Routing(const LowerContext& c, const Gemm& gemm, std::int64_t panels)
      : c_(c), g_(gemm), type_(weight_type(gemm.packing)), panels_(panels) {}

  GemmRoute choose() const {
    const std::int64_t group = g_.group_size > 0 ? g_.group_size : g_.depth;
    if (group % type_.step != 0) {
      GemmRoute route{{.kernel = "gemm_any"}};
      route.defines = {{"ELEMENTS", panel_elements(g_.packing)}, {"MATS", matrices_of_column()}};
      route.params = {"rows", "group_size"};
      route.by_element = true;
      return route;
    }
    if (c_.is_software()) return columns();
    if (g_.rows == 1) return gemv();
    if (has_few_rows()) return few_rows();
    if (takes_matrices()) return matrices();
    return has_few_tiles() || row_bytes() > 0 ? slices() : gemm();
  }

 private:
  // An invocation per four or eight columns, or a gate's four and its up's, and up to 8 rows,
  // without barriers.
  GemmRoute columns() const {
    constexpr std::int64_t kFewBlocks = 64;  // of which a CPU's cores would get unequal numbers
    const Capabilities& caps = c_.capabilities();
    const std::int64_t lanes = !caps.subgroups ? 0 : caps.min_subgroup_size >= 8 ? 8 : 4;
    const std::int64_t rows = std::min<std::int64_t>(lanes == 0 ? 4 : 8, bit_ceil(g_.rows));
    const bool few = panels_ * div_up(g_.rows, rows) < kFewBlocks;
    const std::int64_t sets = g_.gated || !few ? 2 : 1, quads = kQuadsPerPanel / (few ? 2 : 1);
    const std::int64_t group = g_.group_size > 0 ? g_.group_size : g_.depth;
    const bool shuffles = lanes == 8;  // one instruction for 8 lanes, many for 4
    GemmRoute route{{.kernel = rows == 1 ? "gemv_lanes" : "gemm_lanes"}, quads, rows};
    route.params = {"group_steps"};
    const auto define = [&](std::string_view name, std::int64_t value) {
      route.defines.emplace_back(name, value);
    };
    define("SETS", sets);
    define("WG", g_.gated ? quads : quads / sets);
    define("COLUMN_QUADS", quads);
    define("LANES", lanes);
    define("LOADS", type_.loads);
    define("HALVES", type_.halves);
    define("FOLD", rows == 1 ? 0 : 1);
    if (rows == 1) {
      route.staged_rows = staged(rows);
      define("WHOLE", shuffles && group <= 4 * lanes ? 1 : 0);
      route.fixed = true;  // lavapipe makes the more of loops whose lengths it knows: 8 % of a step
      return route;
    }
    route.params = {"rows", "row_blocks", "group_steps"};
    const std::int64_t per_gather = lanes == 0 ? rows : std::min(rows, lanes / type_.halves);
    define("SHUFFLE", shuffles ? 1 : 0);
    define("ROWS", rows);
    define("GATHERS", rows / per_gather);
    define("PER_GATHER", per_gather);
    return route;
  }

  // A workgroup per 8 to 64 columns; fewer columns where that keeps more of a GPU busy. All loads
  // of up to four steps are in flight together, of one where the invocations suffice.
  GemmRoute gemv() const {
    if (multiplies_bytes()) return gemv_bytes();
    const std::int64_t run = subgroup_run(), steps = g_.depth / type_.step;
    const std::int64_t lanes = std::min(lanes_for(16, 192), run > 0 ? run : 16);
    const Slices s = slice(lanes, steps, 4);
    GemmRoute route =
        gemv("gemv", lanes, s.invocations, s.loop,
             {{"LOADS", type_.loads}, {"HALVES", type_.halves}, {"UNROLL", s.unroll}});
    route.params.push_back("steps");
    return route;
  }
  // Every workgroup rounds all of x, so there are fewer of them. An invocation has a unit of work
  // at a time: with more, or two matrices, the registers of 512 keep a second workgroup off a
  // processor.
  GemmRoute gemv_bytes() const {
    const std::int64_t steps = g_.depth / type_.step, units = g_.depth / 32;
    const std::int64_t lanes = bytes_lanes();
    const std::int64_t most = c_.workgroup_size(kMostInvocations / matrices_of_column());
    const std::int64_t wg = std::min(most, round_up(lanes * units, subgroup_run()));
    return gemv("gemv_bytes", lanes, wg, units > wg / lanes,
                {{"STEPS", steps}, {"UNITS", units}, {"TURNS", div_up(steps, wg)}});
  }
  // Where scale groups are whole blocks of x, and a workgroup's memory takes x (25 bytes for 8
  // elements, and split attention's floats) and the sums of each run.
  bool multiplies_bytes() const {
    const Capabilities& caps = c_.capabilities();
    const std::int64_t run = subgroup_run(), matrices = matrices_of_column();
    if (g_.packing != Packing::Q4Panels || g_.group_size == 0 || g_.group_size % 32 != 0 || run < 4)
      return false;
    const std::int64_t x = row_bytes() + g_.depth / 8 * 25;
    const std::int64_t sums = c_.workgroup_size(kMostInvocations) / run * bytes_lanes() * 20;
    const std::int64_t weights = panels_ * kPanel * g_.depth * matrices;
    return static_cast<std::uint64_t>(weights) >= caps.byte_products_from &&
           x + sums * matrices <= caps.max_workgroup_storage;
  }
  std::int64_t bytes_lanes() const {
    constexpr std::int64_t kMost = 32, kManyRounds = 500;  // of workgroups on any GPU
    const bool huge = panels_ * kQuadsPerPanel / kMost >= kManyRounds;
    return std::min(huge ? kMost : lanes_for(16, 96), subgroup_run());
  }

  // The columns, by four, of a workgroup: up to `most` where there are `many` workgroups of them.
  std::int64_t lanes_for(std::int64_t most, std::int64_t many) const {
    while (most > 2 && panels_ * kQuadsPerPanel / most < many) most /= 2;
    return most;
  }
  // The invocations of a workgroup, and how many units of work along K each has at once.
  struct Slices {
    std::int64_t invocations, unroll;
    bool loop;
  };
  Slices slice(std::int64_t lanes, std::int64_t units, std::int64_t most_unrolled) const {
    const std::int64_t run = subgroup_run(),
                       most = c_.workgroup_size(run > 0 ? kMostInvocations : 256);
    auto invocations = [&](std::int64_t unroll) {
      const std::int64_t wanted = lanes * div_up(units, unroll);
      return run > 0 ? round_up(wanted, run) : std::max<std::int64_t>(64, bit_ceil(wanted));
    };
    std::int64_t unroll = 1;
    while (unroll < most_unrolled && invocations(unroll) > most) ++unroll;
    const std::int64_t wg = std::min(most, invocations(unroll));
    return {wg, unroll, units > wg / lanes * unroll};
  }
  GemmRoute gemv(std::string_view kernel, std::int64_t lanes, std::int64_t invocations, bool loop,
                 Defines more) const {
    const std::int64_t run = subgroup_run();
    GemmRoute route{{.kernel = kernel, .defines = std::move(more), .fixed = true}, lanes};
    route.params = {"group_steps"};
    route.staged_rows = staged(1);
    for (const auto& [name, value] : Defines{{"MATS", matrices_of_column()},
                                             {"LANES", lanes},
                                             {"SLICES", invocations / lanes},
                                             {"WG", invocations},
                                             {"LOOP", loop ? 1 : 0},
                                             {"RUN", run},
                                             {"RUNS", run > 0 ? invocations / run : 0}}) {
      route.defines.emplace_back(name, value);
    }
    return route;
  }
  // Workgroup memory that a row passes through, and how many rows do so if it may be `rows`.
  std::int64_t row_bytes() const { return g_.x_door ? g_.x_door->workgroup_bytes : 0; }
  std::int64_t staged(std::int64_t rows) const { return row_bytes() > 0 ? rows : 0; }
  // Neighbouring invocations that are surely in one subgroup.
  std::int64_t subgroup_run() const {
    const Capabilities& caps = c_.capabilities();
    return caps.subgroups ? static_cast<std::int64_t>(std::bit_floor(caps.min_subgroup_size)) : 0;
  }

  // So few that a GPU is idle while each of them goes along K. Found on an H200, where a tile's
  // columns that are not there count, too.
  bool has_few_tiles() const {
    constexpr std::int64_t kFewTiles = 96, kTile = 32;
    return panels_ * matrices_of_column() * div_up(g_.rows, kTile) <= kFewTiles;
  }
  // Four rows for a workgroup, and as many slices of K as its memory has room for the sums of.
  GemmRoute slices() const {
    constexpr std::int64_t kRows = 4, kLanes = 8, kManySteps = 256;
    const Capabilities& caps = c_.capabilities();
    const std::int64_t steps = g_.depth / type_.step, matrices = matrices_of_column();
    const std::int64_t run = subgroup_run() < 4 ? 0 : subgroup_run();
    const std::int64_t lanes = run == 0 ? kLanes : std::min(kLanes, run);
    auto sums = [&](std::int64_t wg) { return wg / (run == 0 ? lanes : run); };
    auto fits = [&](std::int64_t wg) {
      const std::int64_t bytes = sums(wg) * lanes * (16 * matrices + 4) + row_bytes();
      return is_size(wg) && kRows * bytes <= caps.max_workgroup_storage;
    };
    std::int64_t wg =
        std::min<std::int64_t>(bit_ceil(lanes * steps), steps >= kManySteps ? 512 : 256);
    while (wg > 64 && !fits(wg)) wg /= 2;
    wg = std::max(wg, std::max(run, kRows * lanes));
    GemmRoute route{{.kernel = "gemm_slices"}, lanes, kRows};
    route.staged_rows = fits(wg) ? staged(kRows) : 0;
    route.defines = {{"ROWS", kRows},          {"MATS", matrices}, {"LOADS", type_.loads},
                     {"HALVES", type_.halves}, {"WG", wg},         {"LANES", lanes},
                     {"SLICES", wg / lanes},   {"RUN", run},       {"SUMS", sums(wg)}};
    route.params = {"rows", "row_blocks", "steps", "group_steps"};
    return route;
  }

  bool has_few_rows() const {
    constexpr std::int64_t kMostRows = 8;
    const std::int64_t weights = panels_ * kPanel * matrices_of_column() * g_.depth;
    return g_.rows <= kMostRows && g_.packing == Packing::Q4Panels &&
           static_cast<std::uint64_t>(weights) >= c_.capabilities().few_rows_from;
  }
  // All rows for a workgroup of 128 columns, or of 64 where workgroups are few, and then several of
  // them along K.
  GemmRoute few_rows() const {
    constexpr std::int64_t kFewBlocks = 64, kManyGroups = 192;
    const std::int64_t steps = g_.depth / type_.step, quads = panels_ * kQuadsPerPanel;
    const std::int64_t rows = bit_ceil(g_.rows), wg = c_.workgroup_size(256);
    const std::int64_t lanes = quads / 32 < kFewBlocks ? 16 : 32, slices = wg / lanes;
    const std::int64_t unit =
        std::gcd<std::int64_t>(2, std::gcd(steps, g_.group_size / type_.step));
    const std::int64_t unit_quads = unit * slices * type_.halves * rows;
    const std::int64_t units = most_in_memory(4, unit_quads);
    const std::int64_t chunk = units * unit * slices, chunks = div_up(steps, chunk);
    const std::int64_t wanted = kManyGroups / div_up(quads, lanes);
    const std::int64_t of_split = div_up(chunks, std::clamp<std::int64_t>(wanted, 1, chunks));
    const std::int64_t splits = div_up(chunks, of_split), matrices = matrices_of_column();
    GemmRoute route{{.kernel = "gemm_few_rows"}, lanes, rows};
    route.defines = {{"ROWS", rows},
                     {"MATS", matrices},
                     {"LOADS", type_.loads},
                     {"HALVES", type_.halves},
                     {"UNIT", unit},
                     {"UNITS", units},
                     {"WG", wg},
                     {"LANES", lanes},
                     {"SLICES", slices},
                     {"X_TASKS", div_up(units * unit_quads, wg)},
                     {"ROUND", most_in_memory(std::min(rows, slices), wg * matrices)},
                     {"SPLITS", splits},
                     {"SCALED", 1}};
    route.params = {"rows", "row_blocks", "steps", "group_steps", "split_steps"};
    route.split_steps = of_split * chunk;
    route.splits = splits > 1 ? splits : 0;
    route.x_terms = 0;
    return route;
  }
  // Of `count` sets of so many groups of four floats, a power of two that workgroup memory has room
  // for beside a float for each invocation. More than half of a GPU's would keep others off it.
  std::int64_t most_in_memory(std::int64_t count, std::int64_t quads) const {
    constexpr std::int64_t kMost = 16 << 10, kPerInvocation = 4 * 256;
    const std::int64_t room =
        std::min<std::int64_t>(kMost, c_.capabilities().max_workgroup_storage - kPerInvocation);
    while (count > 1 && count * quads * 16 > room) count /= 2;
    return count;
  }

  // A workgroup per tile; smaller tiles, and several groups of invocations for each, where that
  // keeps more of a GPU busy.
  GemmRoute gemm() const {
    constexpr std::int64_t kDepth = 32, kBytesPerRow = 4 * kDepth;  // staged at a time
    constexpr std::int64_t kManyBlocks = 256;
    const Capabilities& caps = c_.capabilities();
    const std::int64_t columns = panels_ * matrices_of_column();
    auto blocks = [&](std::int64_t tile) { return columns * div_up(g_.rows, tile); };
    auto fits = [&](std::int64_t tile) {
      return (tile + kPanel) * kBytesPerRow <= caps.max_workgroup_storage &&
             is_size(tile_lanes(tile)) && blocks(tile) * 64 >= tile * kManyBlocks;
    };
    std::int64_t tile = 128;
    while (tile > 16 && (tile >= 2 * g_.rows || !fits(tile))) tile /= 2;
    std::int64_t split = tile <= 32 ? 4 : 1;
    while (split > 1 && (!is_size(tile_lanes(tile) * split) ||
                         blocks(tile) * tile_lanes(tile) * split > 256 * kManyBlocks)) {
      split /= 2;
    }
    const std::int64_t wg = tile_lanes(tile) * split, words = kDepth / panel_elements(g_.packing);
    GemmRoute route{{.kernel = "gemm_tiles"}, g_.gated ? kQuadsPerPanel / 2 : kQuadsPerPanel, tile};
    route.defines = {{"TILE", tile},
                     {"VECTORS", tile_vectors(tile)},
                     {"KSPLIT", split},
                     {"WG", wg},
                     {"X_TASKS", div_up(2 * tile, wg)},
                     {"WORDS", words},
                     {"W_TASKS", div_up(kQuadsPerPanel * words, wg)},
                     {"COLUMN_QUADS", kQuadsPerPanel}};
    route.params = {"rows", "row_blocks", "group_steps"};
    return route;
  }
  // Not for weights of f32, too few rows and products to be worth two dispatches more, and rows so
  // long, of x or of sums, that a binding does not take some of them.
  bool takes_matrices() const {
    constexpr std::int64_t kFewest = 5;
    const Capabilities& caps = c_.capabilities();
    const std::int64_t columns = (panels_ + 1) * kPanel * matrices_of_column();
    const std::int64_t longest =
        std::max(columns * fewest_matrix_splits(), round_up(g_.depth, kMatrixDepth));
    const auto rows = static_cast<std::int64_t>(caps.max_storage_binding) / (4 * longest);
    return has_matrix_units(c_) && g_.packing != Packing::FloatPanels && g_.rows >= kFewest &&
           has_products_for_matrices() && rows >= 8 * std::int64_t{caps.matrix_size} + kRowUnit &&
           matrices_bytes(4 * std::int64_t{caps.matrix_size}) <= caps.max_workgroup_storage &&
           (w_terms() == 1 || scales_fit_a_binding());
  }
  // Half as many in f16, where they cost a third.
  bool has_products_for_matrices() const {
    const std::int64_t products = g_.rows * panels_ * kPanel * g_.depth * matrices_of_column();
    return static_cast<std::uint64_t>(products) * (x_terms() == 1 ? 2 : 1) >=
           c_.capabilities().matrix_products_from;
  }
  // In f32 an element is the sum of two f16; weights that f16 holds need one.
  std::int64_t x_terms() const { return c_.options().matmul == FloatType::F16 ? 1 : 2; }
  std::int64_t w_terms() const { return has_scales() ? x_terms() : 1; }
  bool scales_fit_a_binding() const {
    const std::int64_t groups = g_.group_size > 0 ? g_.depth / g_.group_size : 1;
    const std::int64_t words = panels_ * matrices_of_column() * kPanel * groups;
    return storage_bytes(Storage::F32, words) <= c_.capabilities().max_storage_binding;
  }
  bool has_scales() const { return g_.parts[0].scales.has_value(); }
  std::int64_t matrices_bytes(std::int64_t tile) const {
    const std::int64_t columns = 8 * std::int64_t{c_.capabilities().matrix_size};
    return 2 * (kMatrixDepth + 8) * (tile * x_terms() + columns * w_terms());
  }
  // A workgroup of four subgroups per tile of eight matrices square; where tiles are few, which
  // leaves a GPU idle or waiting for memory, lower ones, and several workgroups for each, along K.
  GemmRoute matrices() const {
    constexpr std::int64_t kFewTiles = 64, kManyTiles = 256;
    const Capabilities& caps = c_.capabilities();
    const std::int64_t size = caps.matrix_size, wg = 4 * caps.min_subgroup_size;
    const std::int64_t quads = 2 * size, block = g_.gated ? quads / 2 : quads;
    const std::int64_t blocks = div_up(panels_ * kQuadsPerPanel, block);
    auto tiles = [&](std::int64_t tile) { return blocks * div_up(g_.rows, tile); };
    std::int64_t tile = 8 * size;
    if (g_.rows <= tile || tiles(tile) < kFewTiles ||
        matrices_bytes(tile) > caps.max_workgroup_storage) {
      tile /= 2;
    }
    while (tile > size && tile / 2 >= g_.rows) tile /= 2;
    const std::int64_t row_groups = tile == 8 * size ? 2 : 1;
    const std::int64_t elements = panel_elements(g_.packing), words = kMatrixDepth / elements;
    const std::int64_t group = g_.group_size > 0 ? g_.group_size : g_.depth;
    const std::int64_t splits = matrix_splits(kManyTiles / tiles(tile));
    GemmRoute route{{.kernel = "gemm_matrices"}, block, tile};
    route.defines = {{"MATRIX", size},
                     {"SUBGROUP", caps.min_subgroup_size},
                     {"WG", wg},
                     {"TILE", tile},
                     {"COLUMN_QUADS", quads},
                     {"ROW_GROUPS", row_groups},
                     {"ROW_MATRICES", tile / size / row_groups},
                     {"COLUMN_MATRICES", 2 * row_groups},
                     {"DEPTHS", kMatrixDepth / size},
                     {"X_TASKS", div_up(8 * tile, wg)},
                     {"WORDS", words},
                     {"W_TASKS", div_up(quads * words, wg)},
                     {"PARTIAL", 8 * tile % wg != 0 || quads * words % wg != 0 ? 1 : 0},
                     {"GROUP_WORDS", std::max<std::int64_t>(1, group / elements)},
                     {"WHOLE", g_.depth % kMatrixDepth == 0 ? 1 : 0},
                     {"SPLITS", splits},
                     {"X_TERMS", x_terms()},
                     {"W_TERMS", w_terms()}};
    route.params = {"row_blocks"};
    route.splits = splits;
    route.x_terms = x_terms();
    route.w_terms = w_terms();
    return route;
  }
  // Workgroups that share a tile: each gets so much of K that its sums are worth storing, and in
  // f32 not more than the units add up as well as f32 does (they cut off what they add, so that
  // errors grow with its length).
  std::int64_t matrix_splits(std::int64_t wanted) const {
    constexpr std::int64_t kFewestChunks = 8, kMost = 16;
    const std::int64_t chunks = div_up(g_.depth, kMatrixDepth);
    const std::int64_t splits =
        std::max(std::min({wanted, chunks / kFewestChunks, kMost}), fewest_matrix_splits());
    return splits <= 1 ? 1 : div_up(chunks, div_up(chunks, splits));  // none without a chunk
  }
  std::int64_t fewest_matrix_splits() const {
    constexpr std::int64_t kLongest = 1024;  // elements of K
    return x_terms() == 1 ? 1 : div_up(g_.depth, kLongest);
  }
  // Whose sums make one column of the result.
  std::int64_t matrices_of_column() const { return g_.gated ? 2 : 1; }
  static std::int64_t tile_vectors(std::int64_t tile) { return tile >= 64 ? 2 : 1; }
  static std::int64_t tile_lanes(std::int64_t tile) { return 2 * tile / tile_vectors(tile); }
  bool is_size(std::int64_t wg) const {
    return wg <= c_.workgroup_size(static_cast<std::uint32_t>(wg));
  }

  const LowerContext& c_;
  const Gemm& g_;
  const WeightType type_;
  const std::int64_t panels_;
};

}  // namespace

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

GemmRoute choose_gemm_route(const LowerContext& c, const Gemm& gemm, std::int64_t panels) {
  return Routing(c, gemm, panels).choose();
}

bool has_matrix_units(const LowerContext& c) {
  const Capabilities& caps = c.capabilities();
  const std::uint32_t subgroup = caps.min_subgroup_size;
  return caps.matrix_size > 0 && subgroup == caps.max_subgroup_size && subgroup <= 32 &&
         subgroup >= caps.matrix_size && c.workgroup_size(4 * subgroup) == 4 * subgroup;
}

bool takes_staged_row(const LowerContext& c, std::int64_t depth, std::int64_t group_size) {
  const Capabilities& caps = c.capabilities();
  // Beside x, a GPU's workgroup memory holds a sum per invocation.
  const std::int64_t sums = c.is_software() ? 0 : 16 * std::int64_t{c.workgroup_size(512)};
  return group_size % 8 == 0 && 4 * depth + sums <= caps.max_workgroup_storage;
}

}  // namespace etwebgpu
