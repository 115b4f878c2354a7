#include "ops/attention/attention_route.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace etwebgpu {
namespace {

constexpr std::int64_t kRowKeys = 32;  // keys per block of attention_rows
constexpr std::int64_t kRowLanes = 8;  // of a workgroup, where it splits the keys

// How many heads of a group one invocation or workgroup takes, in equal chunks of at most `most`.
struct Chunks {
  std::int64_t size, count;
  Chunks(std::int64_t group, std::int64_t most) {
    count = div_up(group, std::max<std::int64_t>(most, 1));
    size = div_up(group, count);
  }
};

// --- Split along the keys ---

// Too few rows to fill a device unless they are split along the keys. On a GPU each walks its keys
// for long, so that more of them are worth reading the keys once more for each.
bool has_few_queries(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kMost = 4, kMostOfGpu = 16, kTileRows = 8, kEnoughTiles = 128,
                         kFewKeys = 64;
  if (a.queries <= kMost) return true;
  const std::int64_t tiles = a.batch * a.kv_heads * div_up(a.queries * a.group, kTileRows);
  return !c.is_software() && a.queries <= kMostOfGpu && a.most_keys > kFewKeys &&
         tiles < kEnoughTiles;
}

bool is_split(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kMostGroups = 65535;
  return has_few_queries(c, a) && a.batch * a.kv_heads * a.group * a.queries <= kMostGroups &&
         a.most_keys <= 16 * kMostGroups && a.head_dim <= 256 && a.value_dim <= 256;
}

AttentionRoute split_route(const Attention& a, std::string_view kernel, const Chunks& chunks,
                           std::int64_t keys) {
  AttentionRoute route{{.kernel = kernel}};
  route.units = a.batch * a.kv_heads * chunks.count;
  route.groups = route.units * a.queries;
  route.split_keys = keys;
  return route;
}

Defines rows_defines(const Attention& a, const Chunks& chunks, bool split, std::int64_t wg) {
  const std::int64_t dv4 = vectors(a.value_dim);
  return {{"WG", wg},
          {"T", kRowKeys},
          {"SPLIT", split ? 1 : 0},
          {"GC", chunks.size},
          {"CHUNKS", chunks.count},
          {"GC_T", chunks.size * kRowKeys},
          {"GC_DV4", chunks.size * dv4},
          {"DV4", dv4},
          {"STRIDE", split ? kRowLanes : 1},
          {"KU", 4},
          {"VU", std::min<std::int64_t>(split ? 4 : 2, dv4)}};
}

// Software: one invocation per split.
AttentionRoute split_rows(const Attention& a) {
  const Chunks chunks(a.group, 4);
  AttentionRoute route = split_route(a, "attention_rows", chunks, kRowKeys * kRowLanes);
  route.parts = kRowLanes;
  route.defines = rows_defines(a, chunks, true, kRowLanes);
  route.defines.emplace_back("WG_T", route.split_keys);
  route.params = {"queries", "q_row", "d4", "dv4", "units"};
  return route;
}

// Software, one query whose own key and value are fresh: one workgroup per split.
AttentionRoute lanes(const Attention& a) {
  constexpr std::int64_t kUnrolled = 4;
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim), gc = a.group;
  AttentionRoute route =
      split_route(a, "attention_lanes", Chunks(a.group, a.group), kRowKeys * kRowLanes);
  route.defines = {{"WG", kRowLanes},
                   {"T", route.split_keys},
                   {"LANE_KEYS", kRowKeys},
                   {"D4", d4},
                   {"DV4", dv4},
                   {"GC", gc},
                   {"KU", kUnrolled},
                   {"VU", std::gcd(dv4, kUnrolled)},
                   {"GC_KEYS", gc * kRowKeys},
                   {"GC_WG", gc * kRowLanes},
                   {"GC_D4", gc * d4},
                   {"ITEMS", gc * dv4},
                   {"WG_ITEMS", kRowLanes * gc * dv4}};
  route.params = {"d4", "dv4"};
  return route;
}

// True if all heads of a group fit the workgroup memory of attention_lanes, and share it.
bool suits_lanes(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kMostHeads = 4;
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  const std::int64_t bytes = a.group * (16 * (d4 + kRowLanes * dv4) + 8 * kRowLanes);
  return a.group <= kMostHeads && is_vectorizable(a) &&
         bytes <= c.capabilities().max_workgroup_storage;
}

// GPU: one workgroup per split.
AttentionRoute decode(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kKeys = 64;
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  const std::int64_t wg = c.workgroup_size(256), parts = wg / kKeys;
  const std::int64_t per_head = d4 * 16 + wg * 4 + kKeys * 4 + 64;
  const std::int64_t room = c.capabilities().max_workgroup_storage - wg * 20;
  const Chunks chunks(a.group, std::clamp<std::int64_t>(room / per_head, 1, 8));
  const std::int64_t gc = chunks.size, items = gc * dv4;
  const std::int64_t sets = std::max<std::int64_t>(1, wg / items);
  AttentionRoute route = split_route(a, "attention_decode", chunks, kKeys);
  route.defines = {{"WG", wg},
                   {"T", kKeys},
                   {"GC", gc},
                   {"CHUNKS", chunks.count},
                   {"D4", d4},
                   {"DV4", dv4},
                   {"PARTS", parts},
                   {"PARTS4", 4 * parts},
                   {"UNROLL", d4 % (4 * parts) == 0 ? 1 : 0},
                   {"ITEMS", items},
                   {"KEYS", sets},
                   {"KEYS4", 4 * sets},
                   {"GC_D4", gc * d4},
                   {"GC_WG", gc * wg},
                   {"GC_T", gc * kKeys},
                   {"GC_16", gc * 16}};
  route.params = {"queries", "q_row"};
  return route;
}

// How attention_subgroups divides its work.
struct RunShape {
  std::int64_t run = 0, runs = 0;       // invocations of a run, and runs of a workgroup
  std::int64_t parts = 0, keys = 0;     // lanes that share a key, and keys of a run
  std::int64_t slots = 1, v_items = 1;  // sets of keys, and groups of a value's row per lane
};

// Null where the device or the problem does not suit the kernel.
std::optional<RunShape> run_shape(const LowerContext& c, const Attention& a, std::int64_t chunk) {
  const Capabilities& caps = c.capabilities();
  if (!caps.subgroups || !is_vectorizable(a)) return std::nullopt;
  constexpr std::int64_t kGroupsPerLane = 8;  // of a key's row, in registers
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  RunShape s;
  s.run = static_cast<std::int64_t>(std::bit_floor(caps.min_subgroup_size));
  s.parts = static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(div_up(d4, kGroupsPerLane))));
  if (s.parts > s.run || d4 % s.parts != 0) return std::nullopt;
  s.keys = s.run / s.parts;
  const bool whole_slots = std::has_single_bit(static_cast<std::uint64_t>(dv4)) && dv4 <= s.run;
  s.slots = whole_slots ? std::min(s.run / dv4, s.keys) : 1;
  if (s.slots * dv4 != s.run) s.slots = 1;
  s.v_items = div_up(dv4, s.run);
  // 320 rather than 256, which are 160 keys to a workgroup for heads of 64: at 2,048 tokens an H200
  // decodes SmolLM2 and Llama-3.2-1B 5 % faster, for their workgroups are on its processors at
  // once.
  constexpr std::uint32_t kMost = 320;
  const std::int64_t most =
      std::min({kMost, caps.max_workgroup_invocations, caps.max_workgroup_size[0]});
  s.runs = std::max<std::int64_t>(1, most / s.run);
  const auto bytes = [&] { return 16 * ((chunk + 2) * d4 + s.runs * chunk * (dv4 + 1)); };
  while (s.runs > 1 && bytes() > caps.max_workgroup_storage) s.runs /= 2;
  if (s.run > most || bytes() > caps.max_workgroup_storage) return std::nullopt;
  return s;
}

AttentionRoute subgroups(const Attention& a, const Chunks& chunks, const RunShape& s) {
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim), gc = chunks.size;
  AttentionRoute route = split_route(a, "attention_subgroups", chunks, s.runs * s.keys);
  route.defines = {{"WG", s.runs * s.run},
                   {"T", route.split_keys},
                   {"GC", gc},
                   {"CHUNKS", chunks.count},
                   {"MOST_KEYS", a.most_keys},
                   {"D4", d4},
                   {"DV4", dv4},
                   {"RUN", s.run},
                   {"RUNS", s.runs},
                   {"PARTS", s.parts},
                   {"K_GROUPS", d4 / s.parts},
                   {"KEYS", s.keys},
                   {"V_ITEMS", s.v_items},
                   {"SLOTS", s.slots},
                   {"V_KEYS", s.keys / s.slots},
                   {"GC_D4", gc * d4},
                   {"GC_RUNS", gc * s.runs},
                   {"ITEMS", gc * dv4},
                   {"RUNS_ITEMS", s.runs * gc * dv4}};
  route.fixed = true;
  return route;
}

// Heads that share a workgroup's keys: fewer than all, which read the keys once more, where else a
// split of the keys had too few workgroups. On an H200, 9 instead of 3 (SmolLM2) and 16 instead of
// 8 (Llama-3.2-1B) are 9 % and 3 % of a short context's step; 32 instead of 16 cost 6 % of a long
// one's.
std::int64_t heads_together(const Attention& a) {
  constexpr std::int64_t kMost = 4, kFewestWorkgroups = 9;
  std::int64_t heads = kMost;
  while (heads > 1 && a.batch * a.kv_heads * Chunks(a.group, heads).count < kFewestWorkgroups)
    --heads;
  return heads;
}

// --- Every query walks its keys ---

AttentionRoute walking_route(std::string_view kernel, std::int64_t units, std::int64_t row_blocks) {
  AttentionRoute route{{.kernel = kernel, .groups = units * row_blocks}, units};
  route.params = {"queries", "q_row"};
  return route;
}

AttentionRoute rows(const LowerContext& c, const Attention& a) {
  const std::int64_t wg = c.workgroup_size(c.is_software() ? 8 : 32);
  const Chunks chunks(a.group, 4);
  AttentionRoute route =
      walking_route("attention_rows", a.batch * a.kv_heads * chunks.count, div_up(a.queries, wg));
  route.defines = rows_defines(a, chunks, false, wg);
  route.params.insert(route.params.end(), {"d4", "dv4"});
  return route;
}

// Software whose lanes shuffle: eight queries share their keys.
AttentionRoute queries(const Attention& a) {
  const Chunks chunks(a.group, 4);
  AttentionRoute route = walking_route("attention_queries", a.batch * a.kv_heads * chunks.count,
                                       div_up(a.queries, kRowLanes));
  const std::int64_t dv4 = vectors(a.value_dim);
  route.defines = {{"WG", kRowLanes},
                   {"GC", chunks.size},
                   {"CHUNKS", chunks.count},
                   {"DV4", dv4},
                   {"GC_DV4", chunks.size * dv4}};
  route.params.insert(route.params.end(), {"d4", "dv4"});
  return route;
}

bool suits_queries(const LowerContext& c, const Attention& a) {
  const Capabilities& caps = c.capabilities();
  return c.is_software() && caps.subgroups && caps.min_subgroup_size >= kRowLanes &&
         is_vectorizable(a);
}

struct TileShape {
  std::int64_t ty, rq, rk;
  std::int64_t rows() const { return ty * rq; }
  std::int64_t keys() const { return 16 * rk; }
  std::int64_t lanes() const { return 16 * ty; }
  std::int64_t kv_tile(std::int64_t d4, std::int64_t dv4) const {
    return keys() * std::max(d4 | 1, dv4);
  }
  std::int64_t bytes(std::int64_t d4, std::int64_t dv4) const {
    return rows() * d4 * 16 + kv_tile(d4, dv4) * 16 + rows() * keys() * 4 + lanes() * 4 +
           rows() * 8;
  }
};

// Too few tiles to fill a device have their keys split, too; from `enough` workgroups on joining
// the results costs more. On an H200 32 tokens at position 2,000 of Llama-3.2-1B take 4.6 instead
// of 12.0 ms so, and of SmolLM2 2.9 instead of 16.5.
constexpr std::int64_t kTileKeys = 128;  // of a workgroup then

// Keys of each workgroup, more where results of so few took too much memory; 0: all of them.
std::int64_t tile_split(const Attention& a, std::int64_t workgroups, std::int64_t enough) {
  constexpr std::int64_t kMostBytes = 64 << 20;
  if (workgroups >= enough || a.most_keys <= kTileKeys) return 0;
  const std::int64_t rows = a.batch * a.kv_heads * a.group * a.queries;
  const std::int64_t split_bytes = rows * (vectors(a.value_dim) + 1) * 16;
  const std::int64_t most = std::max<std::int64_t>(1, kMostBytes / split_bytes);
  return div_up(div_up(a.most_keys, most), kTileKeys) * kTileKeys;
}

// A route by tiles, split along the keys where that pays.
AttentionRoute maybe_split(const Attention& a, AttentionRoute route, std::int64_t enough) {
  route.split_keys = tile_split(a, route.groups, enough);
  if (route.split_keys == 0) return route;
  route.params.insert(route.params.end(), {"units"});
  route.defines.insert(route.defines.end(), {{"SPLIT", 1}, {"SPLIT_KEYS", route.split_keys}});
  return route;
}

// The largest tile that fits and still gives the device enough workgroups; null if none fits.
const TileShape* choose_tile(const LowerContext& c, const Attention& a) {
  static constexpr TileShape kShapes[] = {{16, 4, 2}, {8, 4, 2}, {8, 4, 1}, {4, 4, 2},
                                          {4, 4, 1},  {4, 2, 1}, {4, 1, 1}};
  constexpr std::int64_t kEnoughWorkgroups = 128;
  // As many as there are early in a conversation: larger tiles read less.
  const std::int64_t splits = std::clamp<std::int64_t>(a.most_keys / kTileKeys, 1, 4);
  const Capabilities& caps = c.capabilities();
  const TileShape* chosen = nullptr;
  for (const TileShape& shape : kShapes) {
    if (shape.bytes(vectors(a.head_dim), vectors(a.value_dim)) > caps.max_workgroup_storage)
      continue;
    if (shape.lanes() > c.workgroup_size(256)) continue;
    const std::int64_t tiles = div_up(a.queries * a.group, shape.rows());
    chosen = &shape;
    if (tiles * a.batch * a.kv_heads * splits >= kEnoughWorkgroups) break;
    if (shape.rows() <= 8) break;
  }
  return chosen;
}

AttentionRoute tiles(const Attention& a, const TileShape& shape) {
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  AttentionRoute route = walking_route("attention_tiles", a.batch * a.kv_heads,
                                       div_up(a.queries * a.group, shape.rows()));
  route.defines = {{"WG", shape.lanes()},
                   {"RQ", shape.rq},
                   {"RK", shape.rk},
                   {"BQ", shape.rows()},
                   {"BK", shape.keys()},
                   {"D4", d4},
                   {"DV4", dv4},
                   {"DV_STEPS", div_up<std::int64_t>(dv4, 16)},
                   {"PITCH", d4 | 1},
                   {"LANES", shape.lanes() / shape.rows()},
                   {"KV_TILE", shape.kv_tile(d4, dv4)},
                   {"BQ_D4", shape.rows() * d4},
                   {"BQ_BK", shape.rows() * shape.keys()},
                   {"BK_D4", shape.keys() * d4},
                   {"BK_DV4", shape.keys() * dv4}};
  return maybe_split(a, std::move(route), 256);
}

// Keys that attention_matrices takes at a time, in f16: null where that is not asked for, or the
// device or the problem does not suit.
std::optional<std::int64_t> matrix_keys(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kMostHeadDim = 128;
  const Capabilities& caps = c.capabilities();
  if (c.is_software() || c.options().matmul != FloatType::F16 || !has_matrix_units(c) ||
      !caps.subgroups || !is_vectorizable(a) || a.head_dim != a.value_dim || a.head_dim % 32 != 0 ||
      a.head_dim > kMostHeadDim)
    return std::nullopt;
  const std::int64_t rows = 4 * std::int64_t{caps.matrix_size};
  auto bytes = [&](std::int64_t keys) {
    return 2 * rows * (a.head_dim + 8) + rows * (4 * (keys + 4) + 2 * (keys + 8)) + 16;
  };
  for (std::int64_t keys = rows; keys >= 32; keys /= 2)
    if (bytes(keys) <= caps.max_workgroup_storage) return keys;
  return std::nullopt;
}

AttentionRoute matrices(const LowerContext& c, const Attention& a, std::int64_t keys) {
  const std::int64_t size = c.capabilities().matrix_size, rows = 4 * size;
  const std::int64_t subgroup = c.capabilities().min_subgroup_size, wg = 4 * subgroup;
  const std::int64_t lanes = subgroup / size;
  AttentionRoute route =
      walking_route("attention_matrices", a.batch * a.kv_heads, div_up(a.queries * a.group, rows));
  route.defines = {{"MATRIX", size},
                   {"SUBGROUP", subgroup},
                   {"WG", wg},
                   {"BQ", rows},
                   {"KEYS", keys},
                   {"D4", a.head_dim / 4},
                   {"DV4", a.head_dim / 4},
                   {"SQUARES", keys / size},
                   {"DEPTHS", a.head_dim / size},
                   {"STEPS", a.head_dim / 32},
                   {"PER_STEP", 32 / size},
                   {"LANES", lanes},
                   {"SCORES", keys / lanes},
                   {"ITEMS", 8 / lanes},
                   {"STAGED", keys * a.head_dim / 4 / wg}};
  return maybe_split(a, std::move(route), 64);  // the units are fast
}

}  // namespace

bool is_vectorizable(const Attention& a) {
  auto aligned = [](const AttentionTensor& t) {
    return (t.strides.batch | t.strides.head | t.strides.row) % 4 == 0;
  };
  return a.head_dim % 4 == 0 && a.value_dim % 4 == 0 && aligned(a.q) && aligned(a.k) &&
         aligned(a.v) && aligned(a.out);
}

AttentionRoute choose_attention_route(const LowerContext& c, const Attention& a) {
  if (is_split(c, a)) return c.is_software() ? split_rows(a) : decode(c, a);
  if (const std::optional<std::int64_t> keys = matrix_keys(c, a)) return matrices(c, a, *keys);
  if (suits_queries(c, a)) return queries(a);
  const TileShape* tile = c.is_software() ? nullptr : choose_tile(c, a);
  return tile ? tiles(a, *tile) : rows(c, a);
}

std::optional<AttentionRoute> choose_fresh_route(const LowerContext& c, const Attention& a) {
  const bool masked = a.mask.buffer.index >= 0;
  if (a.queries != 1 || !is_split(c, a) || masked) return std::nullopt;
  if (c.is_software()) return suits_lanes(c, a) ? std::optional(lanes(a)) : std::nullopt;
  const Chunks chunks(a.group, heads_together(a));
  const std::optional<RunShape> shape = run_shape(c, a, chunks.size);
  return shape ? subgroups(a, chunks, *shape) : decode(c, a);
}

std::int64_t split_capacity(const Attention& a, const AttentionRoute& route) {
  return std::max<std::int64_t>(1, div_up(a.most_keys, route.split_keys)) * route.parts;
}

Route choose_merge_route(const LowerContext& c, const Attention& a, const AttentionRoute& route,
                         std::int64_t splits) {
  const std::int64_t rows = a.batch * a.kv_heads * a.group * a.queries;
  const std::int64_t items = vectors(a.value_dim);
  const bool software = c.is_software();
  // Lanes along the splits hide the latency of a GPU's memory; more than there are splits idle.
  const std::int64_t most = c.workgroup_size(256) / items;
  const std::int64_t lanes = software ? 1 : std::clamp<std::int64_t>(std::min(most, splits), 1, 16);
  const std::int64_t wg = lanes == 1 ? c.workgroup_size(software ? 8 : 64) : lanes * items;
  return {.kernel = "attention_merge",
          .defines = {{"WG", wg},
                      {"LANES", lanes},
                      {"T", route.split_keys},
                      {"PARTS", route.parts},
                      {"DV4", items}},
          .groups = lanes == 1 ? div_up(rows * items, wg) : rows};
}

}  // namespace etwebgpu
