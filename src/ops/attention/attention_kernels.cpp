// Which attention kernels run where, and how they are called.
#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "ops/attention/attention.h"

namespace etwebgpu {
namespace {

// Queries up to here are split along the keys: there are too few rows to fill a device otherwise.
constexpr std::int64_t kMostSplitQueries = 4;

std::int64_t vectors(std::int64_t elements) { return div_up<std::int64_t>(elements, 4); }

// How many heads of a group one invocation or workgroup takes, in equal chunks of at most `most`.
struct Chunks {
  std::int64_t size, count;
  Chunks(std::int64_t group, std::int64_t most) {
    count = div_up(group, std::max<std::int64_t>(most, 1));
    size = div_up(group, count);
  }
};

bool is_vectorizable(const Attention& a) {
  auto aligned = [](const AttentionTensor& t) {
    return (t.strides.batch | t.strides.head | t.strides.row) % 4 == 0;
  };
  return a.head_dim % 4 == 0 && a.value_dim % 4 == 0 && aligned(a.q) && aligned(a.k) &&
         aligned(a.v) && aligned(a.out);
}

// What attention_rope.wgsl mentions, but for q.
void give_rope(KernelCall& call, const FreshRows& fresh) {
  const bool live = fresh.live_row != kNoValue;
  call.define("HALVES", fresh.halves ? 1 : 0).define("ROTATED", fresh.rotated);
  call.define("PITCH_COS", fresh.table_pitch).define("ROW", live ? 1 : 0);
  call.read("k_new", fresh.k).read("v_new", fresh.v);
  call.read("table_cos", fresh.cos).read("table_sin", fresh.sin);
  call.param("table_row", fresh.table_row);
  if (live) call.scalar("live_row", fresh.live_row);
}

// Results of workgroups that have a part of the keys each.
struct Partials {
  BufferRef buffer;
  std::int64_t keys;    // of a workgroup
  std::int64_t parts;   // results of a workgroup
  std::int64_t splits;  // capacity
};

// The names of a tensor's strides among the params.
struct StrideNames {
  Literal batch, head, row;
};

// Builds one kernel call: each step gives what a template mentions, or a fragment that it includes.
class AttentionCall {
 public:
  AttentionCall(LowerContext& c, const Attention& a, std::string_view kernel)
      : a_(a), call_(c.emit(kernel)) {
    const bool follows = a.position != kNoValue && (a.causal || a.keys_follow_position);
    define("DV", a.value_dim).define("VEC", is_vectorizable(a) ? 1 : 0);
    define("CAUSAL", a.causal ? 1 : 0).define("POSITION", follows ? 1 : 0);
    if (follows) call_.scalar("position", a.position);
    call_.params(
        {{"kv_heads", a.kv_heads}, {"group", a.group}, {"keys", a.keys}, {"offset", a.offset}});
  }

  template <typename T>
  AttentionCall& define(std::string_view name, const T& value) {
    call_.define(name, value);
    return *this;
  }
  AttentionCall& param(Literal name, std::int64_t value) {
    call_.param(name, value);
    return *this;
  }
  // Where there is more than one query.
  AttentionCall& queries() { return param("queries", a_.queries).param("q_row", a_.q.strides.row); }
  AttentionCall& read_inputs() {
    give_elements();
    call_.read("q", a_.q.buffer).read("k", a_.k.buffer).read("v", a_.v.buffer);
    const AttentionMask& m = a_.mask;
    if (m.buffer.index < 0) return *this;
    define("MASK", 1);
    call_.read("mask", m.buffer);
    call_.params({{"mask_batch", m.batch},
                  {"mask_head", m.head},
                  {"mask_row", m.row},
                  {"mask_column", m.column}});
    return *this;
  }
  AttentionCall& write_fresh(const FreshRows& fresh) {
    give_elements();
    define("FRESH", 1).define("KV_ACCESS", "read_write");
    call_.read("q", a_.q.buffer);
    give_rope(call_, fresh);
    call_.write("k", a_.k.buffer).write("v", a_.v.buffer);
    return *this;
  }
  // As bounds of loops that no compiler should unroll.
  AttentionCall& bound_loops() {
    return param("d4", vectors(a_.head_dim)).param("dv4", vectors(a_.value_dim));
  }
  AttentionCall& write_partials(const Partials& partials) {
    call_.write("partials", partials.buffer).param("splits", partials.splits);
    return *this;
  }
  AttentionCall& write_out(std::int64_t units) {
    call_.write("out", a_.out.buffer).param("units", units);
    give_strides({"out_batch", "out_head", "out_row"}, a_.out.strides);
    call_.param("no_keys", std::numeric_limits<float>::quiet_NaN());
    return *this;
  }
  KernelCall& call() { return call_; }

 private:
  void give_elements() {
    define("D", a_.head_dim).define("HALF", a_.half ? 1 : 0);
    call_.params({{"q_batch", a_.q.strides.batch}, {"q_head", a_.q.strides.head}});
    give_strides({"k_batch", "k_head", "k_row"}, a_.k.strides);
    give_strides({"v_batch", "v_head", "v_row"}, a_.v.strides);
    call_.param("scale", a_.scale);
  }
  void give_strides(const StrideNames& names, const AttentionStrides& s) {
    call_.params({{names.batch, s.batch}, {names.head, s.head}, {names.row, s.row}});
  }

  const Attention& a_;
  KernelCall& call_;
};

// --- Split along the keys ---

Partials make_partials(LowerContext& c, const Attention& a, std::int64_t keys, std::int64_t parts) {
  Partials out;
  out.keys = keys;
  out.parts = parts;
  out.splits = std::max<std::int64_t>(1, div_up(a.most_keys, keys)) * parts;
  const std::int64_t rows = a.batch * a.kv_heads * a.group * a.queries * out.splits;
  out.buffer = c.scratch(static_cast<std::uint64_t>(rows * (vectors(a.value_dim) + 1)) * 16);
  return out;
}

// The y count of workgroups that take `keys` keys each.
void set_split_grid(const Attention& a, KernelCall& call, std::int64_t x, std::int64_t keys) {
  call.groups(x, std::max<std::int64_t>(1, div_up(a.keys, keys)));
  if (a.position != kNoValue && a.keys_follow_position) call.live_rows(a.position, a.keys, keys);
}

void emit_merge(LowerContext& c, const Attention& a, const Partials& partials) {
  const std::int64_t rows = a.batch * a.kv_heads * a.group * a.queries;
  const std::int64_t items = vectors(a.value_dim);
  const bool software = c.capabilities().adapter_class == AdapterClass::Software;
  // Lanes along the splits hide the latency of a GPU's memory; more than there are splits idle.
  const std::int64_t most = c.workgroup_size(256) / items;
  const std::int64_t lanes =
      software ? 1 : std::clamp<std::int64_t>(std::min(most, partials.splits), 1, 16);
  const std::int64_t wg = lanes == 1 ? c.workgroup_size(software ? 8 : 64) : lanes * items;
  AttentionCall merge(c, a, "attention_merge");
  merge.define("WG", wg)
      .define("LANES", lanes)
      .define("T", partials.keys)
      .define("PARTS", partials.parts)
      .define("DV4", items);
  merge.param("queries", a.queries).param("splits", partials.splits);
  merge.write_out(a.batch * a.kv_heads).call().read("partials", partials.buffer);
  merge.call().groups(lanes == 1 ? div_up(rows * items, wg) : rows);
}

constexpr std::int64_t kRowKeys = 32;  // keys per block of attention_rows
constexpr std::int64_t kRowLanes = 8;  // of a workgroup, where it splits the keys

void define_rows(AttentionCall& rows, const Attention& a, const Chunks& chunks, bool split) {
  const std::int64_t dv4 = vectors(a.value_dim);
  rows.define("T", kRowKeys).define("SPLIT", split ? 1 : 0);
  rows.define("GC", chunks.size).define("CHUNKS", chunks.count);
  rows.define("GC_T", chunks.size * kRowKeys).define("GC_DV4", chunks.size * dv4);
  rows.define("DV4", dv4);
  rows.define("STRIDE", split ? kRowLanes : 1)
      .define("KU", 4)
      .define("VU", std::min<std::int64_t>(split ? 4 : 2, dv4));
}

// Software: one invocation per split.
void emit_split_rows(LowerContext& c, const Attention& a) {
  const Chunks chunks(a.group, 4);
  const Partials partials = make_partials(c, a, kRowKeys * kRowLanes, kRowLanes);
  AttentionCall rows(c, a, "attention_rows");
  rows.define("WG", kRowLanes).define("WG_T", partials.keys);
  define_rows(rows, a, chunks, true);
  const std::int64_t units = a.batch * a.kv_heads * chunks.count;
  rows.read_inputs().queries().bound_loops().write_partials(partials).param("units", units);
  set_split_grid(a, rows.call(), units * a.queries, partials.keys);
  emit_merge(c, a, partials);
}

// Software, one query whose own key and value are fresh: one workgroup per split.
Partials emit_lanes(LowerContext& c, const Attention& a, const FreshRows& fresh) {
  constexpr std::int64_t kUnrolled = 4;
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim), gc = a.group;
  const Partials partials = make_partials(c, a, kRowKeys * kRowLanes, 1);
  AttentionCall lanes(c, a, "attention_lanes");
  lanes.define("WG", kRowLanes).define("T", partials.keys).define("LANE_KEYS", kRowKeys);
  lanes.define("D4", d4).define("DV4", dv4);
  lanes.define("GC", gc).define("KU", kUnrolled).define("VU", std::gcd(dv4, kUnrolled));
  lanes.define("GC_KEYS", gc * kRowKeys).define("GC_WG", gc * kRowLanes).define("GC_D4", gc * d4);
  lanes.define("ITEMS", gc * dv4).define("WG_ITEMS", kRowLanes * gc * dv4);
  lanes.write_fresh(fresh).bound_loops().write_partials(partials);
  set_split_grid(a, lanes.call(), a.batch * a.kv_heads, partials.keys);
  return partials;
}

// True if emit_lanes may be called: all heads of a group fit its workgroup memory, and share it.
bool suits_lanes(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kMostHeads = 4;
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  const std::int64_t bytes = a.group * (16 * (d4 + kRowLanes * dv4) + 8 * kRowLanes);
  return a.group <= kMostHeads && is_vectorizable(a) &&
         bytes <= c.capabilities().max_workgroup_storage;
}

// GPU: one workgroup per split.
Partials emit_decode(LowerContext& c, const Attention& a, const FreshRows* fresh = nullptr) {
  constexpr std::int64_t kKeys = 64;
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  const std::int64_t wg = c.workgroup_size(256), parts = wg / kKeys;
  const std::int64_t per_head = d4 * 16 + wg * 4 + kKeys * 4 + 64;
  const std::int64_t room = c.capabilities().max_workgroup_storage - wg * 20;
  const Chunks chunks(a.group, std::clamp<std::int64_t>(room / per_head, 1, 8));
  const std::int64_t gc = chunks.size, items = gc * dv4;
  const std::int64_t sets = std::max<std::int64_t>(1, wg / items);
  const Partials partials = make_partials(c, a, kKeys, 1);
  AttentionCall decode(c, a, "attention_decode");
  decode.define("WG", wg).define("T", kKeys).define("GC", gc).define("CHUNKS", chunks.count);
  decode.define("D4", d4).define("DV4", dv4);
  decode.define("PARTS", parts).define("PARTS4", 4 * parts);
  decode.define("UNROLL", d4 % (4 * parts) == 0 ? 1 : 0);
  decode.define("ITEMS", items).define("KEYS", sets).define("KEYS4", 4 * sets);
  decode.define("GC_D4", gc * d4).define("GC_WG", gc * wg);
  decode.define("GC_T", gc * kKeys).define("GC_16", gc * 16);
  fresh ? decode.write_fresh(*fresh) : decode.read_inputs();
  decode.queries().write_partials(partials);
  const std::int64_t units = a.batch * a.kv_heads * chunks.count;
  set_split_grid(a, decode.call(), units * a.queries, partials.keys);
  return partials;
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

Partials emit_runs(LowerContext& c, const Attention& a, const FreshRows& fresh,
                   const Chunks& chunks, const RunShape& s) {
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim), gc = chunks.size;
  const Partials partials = make_partials(c, a, s.runs * s.keys, 1);
  AttentionCall runs(c, a, "attention_subgroups");
  runs.define("WG", s.runs * s.run).define("T", partials.keys);
  runs.define("GC", gc).define("CHUNKS", chunks.count).define("MOST_KEYS", a.most_keys);
  runs.define("D4", d4).define("DV4", dv4);
  runs.define("RUN", s.run).define("RUNS", s.runs).define("PARTS", s.parts);
  runs.define("K_GROUPS", d4 / s.parts).define("KEYS", s.keys).define("V_ITEMS", s.v_items);
  runs.define("SLOTS", s.slots).define("V_KEYS", s.keys / s.slots);
  runs.define("GC_D4", gc * d4).define("GC_RUNS", gc * s.runs).define("ITEMS", gc * dv4);
  runs.define("RUNS_ITEMS", s.runs * gc * dv4);
  runs.write_fresh(fresh).write_partials(partials).call().fix_params();
  const std::int64_t units = a.batch * a.kv_heads * chunks.count;
  set_split_grid(a, runs.call(), units, partials.keys);
  return partials;
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

// One query whose own key and value are fresh.
Partials emit_fresh_decode(LowerContext& c, const Attention& a, const FreshRows& fresh) {
  const Chunks chunks(a.group, heads_together(a));
  const std::optional<RunShape> shape = run_shape(c, a, chunks.size);
  return shape ? emit_runs(c, a, fresh, chunks, *shape) : emit_decode(c, a, &fresh);
}

// --- Every query walks its keys ---

void emit_rows(LowerContext& c, const Attention& a) {
  const std::int64_t lanes =
      c.workgroup_size(c.capabilities().adapter_class == AdapterClass::Software ? 8 : 32);
  const Chunks chunks(a.group, 4);
  AttentionCall rows(c, a, "attention_rows");
  rows.define("WG", lanes);
  define_rows(rows, a, chunks, false);
  const std::int64_t units = a.batch * a.kv_heads * chunks.count;
  rows.read_inputs().queries().bound_loops().write_out(units).call().groups(
      units * div_up(a.queries, lanes));
}

// Software whose lanes shuffle: eight queries share their keys.
void emit_queries(LowerContext& c, const Attention& a) {
  const std::int64_t dv4 = vectors(a.value_dim);
  const Chunks chunks(a.group, 4);
  AttentionCall queries(c, a, "attention_queries");
  queries.define("WG", kRowLanes).define("GC", chunks.size).define("CHUNKS", chunks.count);
  queries.define("DV4", dv4).define("GC_DV4", chunks.size * dv4);
  const std::int64_t units = a.batch * a.kv_heads * chunks.count;
  queries.read_inputs().queries().bound_loops().write_out(units).call().groups(
      units * div_up(a.queries, kRowLanes));
}

bool suits_queries(const LowerContext& c, const Attention& a) {
  const Capabilities& caps = c.capabilities();
  return caps.adapter_class == AdapterClass::Software && caps.subgroups &&
         caps.min_subgroup_size >= kRowLanes && is_vectorizable(a) && a.mask.buffer.index < 0;
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

// The largest tile that fits and still gives the device enough workgroups; null if none fits.
const TileShape* choose_tile(const LowerContext& c, const Attention& a) {
  static constexpr TileShape kShapes[] = {{16, 4, 2}, {8, 4, 2}, {8, 4, 1}, {4, 4, 2},
                                          {4, 4, 1},  {4, 2, 1}, {4, 1, 1}};
  constexpr std::int64_t kEnoughWorkgroups = 128;
  const Capabilities& caps = c.capabilities();
  const TileShape* chosen = nullptr;
  for (const TileShape& shape : kShapes) {
    if (shape.bytes(vectors(a.head_dim), vectors(a.value_dim)) > caps.max_workgroup_storage)
      continue;
    if (shape.lanes() > c.workgroup_size(256)) continue;
    const std::int64_t tiles = div_up(a.queries * a.group, shape.rows());
    chosen = &shape;
    if (tiles * a.batch * a.kv_heads >= kEnoughWorkgroups) break;
    if (shape.rows() <= 8) break;
  }
  return chosen;
}

void emit_tiles(LowerContext& c, const Attention& a, const TileShape& shape) {
  const std::int64_t d4 = vectors(a.head_dim), dv4 = vectors(a.value_dim);
  AttentionCall tiles(c, a, "attention_tiles");
  tiles.define("WG", shape.lanes()).define("RQ", shape.rq);
  tiles.define("RK", shape.rk).define("BQ", shape.rows()).define("BK", shape.keys());
  tiles.define("D4", d4).define("DV4", dv4);
  tiles.define("DV_STEPS", div_up<std::int64_t>(dv4, 16)).define("PITCH", d4 | 1);
  tiles.define("LANES", shape.lanes() / shape.rows()).define("KV_TILE", shape.kv_tile(d4, dv4));
  tiles.define("BQ_D4", shape.rows() * d4).define("BQ_BK", shape.rows() * shape.keys());
  tiles.define("BK_D4", shape.keys() * d4).define("BK_DV4", shape.keys() * dv4);
  const std::int64_t units = a.batch * a.kv_heads;
  tiles.read_inputs().queries().write_out(units).call().groups(
      units * div_up(a.queries * a.group, shape.rows()));
}

// Keys that attention_matrices takes at a time, in f16: null where that is not asked for, or the
// device or the problem does not suit.
std::optional<std::int64_t> matrix_keys(const LowerContext& c, const Attention& a) {
  constexpr std::int64_t kMostHeadDim = 128;
  const Capabilities& caps = c.capabilities();
  if (!multiplies_in_f16(c) || !caps.subgroups || !is_vectorizable(a) ||
      a.head_dim != a.value_dim || a.head_dim % 32 != 0 || a.head_dim > kMostHeadDim)
    return std::nullopt;
  const std::int64_t rows = 4 * std::int64_t{caps.matrix_size};
  auto bytes = [&](std::int64_t keys) {
    return 2 * rows * (a.head_dim + 8) + rows * (4 * (keys + 4) + 2 * (keys + 8)) + 16;
  };
  for (std::int64_t keys = rows; keys >= 32; keys /= 2)
    if (bytes(keys) <= caps.max_workgroup_storage) return keys;
  return std::nullopt;
}

void emit_matrices(LowerContext& c, const Attention& a, std::int64_t keys) {
  const std::int64_t size = c.capabilities().matrix_size, rows = 4 * size;
  const std::int64_t subgroup = c.capabilities().min_subgroup_size, wg = 4 * subgroup;
  const std::int64_t lanes = subgroup / size;
  AttentionCall matrices(c, a, "attention_matrices");
  matrices.define("MATRIX", size).define("SUBGROUP", subgroup).define("WG", wg).define("BQ", rows);
  matrices.define("KEYS", keys).define("D4", a.head_dim / 4);
  matrices.define("SQUARES", keys / size).define("DEPTHS", a.head_dim / size);
  matrices.define("STEPS", a.head_dim / 32).define("PER_STEP", 32 / size).define("LANES", lanes);
  matrices.define("SCORES", keys / lanes).define("ITEMS", 8 / lanes);
  matrices.define("STAGED", keys * a.head_dim / 4 / wg);
  const std::int64_t units = a.batch * a.kv_heads;
  matrices.read_inputs().queries().write_out(units).call().groups(
      units * div_up(a.queries * a.group, rows));
}

// Rotates q into a scratch buffer, which takes q's place, and writes the new rows of k and v.
void emit_rotary_fresh(LowerContext& c, Attention& a, const FreshRows& fresh) {
  const std::int64_t heads = a.kv_heads * a.group, tokens = a.batch * a.queries;
  const std::int64_t d2 = div_up<std::int64_t>(a.head_dim, 2);
  const BufferRef rotated = c.scratch(static_cast<std::uint64_t>(tokens * heads * a.head_dim) * 4);
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& call = c.emit("rotary_fresh");
  call.define("WG", wg).define("D", a.head_dim).define("D2", d2).define("HALF", a.half ? 1 : 0);
  call.define("POSITION", a.position != kNoValue ? 1 : 0);
  call.define("Q_HEADS", heads).define("KV_HEADS", a.kv_heads);
  call.define("BATCHES", a.batch > 1 ? 1 : 0);
  call.params({{"positions", a.queries},
               {"tokens", tokens},
               {"capacity", a.most_keys},
               {"first_row", a.offset}});
  if (a.position != kNoValue) call.scalar("position", a.position);
  call.read("q", a.q.buffer);
  give_rope(call, fresh);
  call.write("q_out", rotated).write("k", a.k.buffer).write("v", a.v.buffer);
  const std::int64_t items = tokens * (heads + 2 * a.kv_heads) * d2;
  call.groups(div_up<std::int64_t>(items, wg));
  a.q.buffer = rotated;
}

bool is_split(const Attention& a) {
  constexpr std::int64_t kMostGroups = 65535;
  return a.queries <= kMostSplitQueries &&
         a.batch * a.kv_heads * a.group * a.queries <= kMostGroups &&
         a.most_keys <= 16 * kMostGroups && a.head_dim <= 256 && a.value_dim <= 256;
}

bool is_empty(const Attention& a) {
  return a.batch * a.kv_heads * a.group * a.queries * a.value_dim == 0;
}

}  // namespace

Result<void> emit_attention(LowerContext& c, const Attention& a) {
  if (is_empty(a)) return {};
  CHECK_OR_FAIL(a.head_dim > 0, ErrorKind::InvalidProgram, "attention over heads of 0 elements");
  const bool software = c.capabilities().adapter_class == AdapterClass::Software;
  if (is_split(a)) {
    software ? emit_split_rows(c, a) : emit_merge(c, a, emit_decode(c, a));
    return {};
  }
  const std::optional<std::int64_t> keys = software ? std::nullopt : matrix_keys(c, a);
  if (keys) {
    emit_matrices(c, a, *keys);
    return {};
  }
  if (suits_queries(c, a)) {
    emit_queries(c, a);
    return {};
  }
  const TileShape* tile = software ? nullptr : choose_tile(c, a);
  tile ? emit_tiles(c, a, *tile) : emit_rows(c, a);
  return {};
}

Result<std::optional<SplitAttention>> emit_fresh_attention(LowerContext& c, Attention a,
                                                           const FreshRows& fresh,
                                                           bool may_stay_split) {
  if (is_empty(a)) return std::nullopt;
  const bool software = c.capabilities().adapter_class == AdapterClass::Software;
  const bool masked = a.mask.buffer.index >= 0;
  if (a.queries != 1 || !is_split(a) || masked || (software && !suits_lanes(c, a))) {
    emit_rotary_fresh(c, a, fresh);
    TRY(emit_attention(c, a));
    return std::nullopt;
  }
  const Partials partials = software ? emit_lanes(c, a, fresh) : emit_fresh_decode(c, a, fresh);
  const bool live = a.position != kNoValue && a.keys_follow_position;
  if (may_stay_split && a.batch == 1 && live && a.value_dim % 4 == 0) {
    return SplitAttention{partials.buffer, a.position,      a.keys,
                          partials.keys,   partials.splits, a.value_dim};
  }
  emit_merge(c, a, partials);
  return std::nullopt;
}

void emit_cache_update(LowerContext& c, std::span<const std::pair<std::size_t, std::size_t>> writes,
                       std::size_t position) {
  constexpr Literal kValues[] = {"value0", "value1"}, kCaches[] = {"cache0", "cache1"};
  const Dims &value = c.sizes(writes[0].first), &cache = c.sizes(writes[0].second);
  if (value.numel() == 0) return;
  const bool half = c.storage(writes[0].second) == Storage::HalfPairs;
  const std::int64_t row = value[2] * value[3];
  const std::int64_t unit = half ? 2 : row % 4 == 0 ? 4 : 1;
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& call = c.emit("cache_update");
  call.define("WG", wg).define("HALF", half ? 1 : 0).define("TENSORS", writes.size());
  call.define("POSITION", c.is_symint(position) ? 1 : 0);
  call.define("T", half ? "vec2<f32>" : unit == 4 ? "vec4<f32>" : "f32");
  call.define("C", half ? "u32" : unit == 4 ? "vec4<f32>" : "f32");
  for (std::size_t i = 0; i < writes.size(); ++i) call.read(kValues[i], c.value(writes[i].first));
  for (std::size_t i = 0; i < writes.size(); ++i) call.write(kCaches[i], c.value(writes[i].second));
  call.params({{"count", value.numel() / unit},
               {"batch_units", value[1] * row / unit},
               {"cache_units", cache[1] * row / unit},
               {"row_units", row / unit},
               {"first_row", c.is_symint(position) ? 0 : c.integer(position)}});
  if (c.is_symint(position)) call.scalar("position", c.id(position));
  call.groups(div_up<std::int64_t>(value.numel() / unit, wg));
}

}  // namespace etwebgpu
