// The kernel calls of an attention, and their bindings and params.
#include <algorithm>
#include <limits>

#include "ops/attention/attention.h"
#include "ops/attention/attention_route.h"

namespace etwebgpu {
namespace {

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

// The names of a tensor's strides among the params.
struct StrideNames {
  Literal batch, head, row;
};

// Builds one kernel call: each step gives what a template mentions, or a fragment that it includes.
class AttentionCall {
 public:
  AttentionCall(LowerContext& c, const Attention& a, const Route& route)
      : a_(a), call_(c.emit(route)) {
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
  AttentionCall& read_inputs() {
    give_elements();
    call_.read("q", a_.q.buffer, from(a_.q)).read("k", a_.k.buffer, from(a_.k));
    call_.read("v", a_.v.buffer, from(a_.v));
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
  // Those of `wanted` that only some kernels have.
  AttentionCall& give(std::span<const Literal> wanted, std::int64_t units) {
    for (const Param& param : {Param{"queries", a_.queries}, Param{"q_row", a_.q.strides.row},
                               // Bounds of loops that no compiler should unroll.
                               Param{"d4", vectors(a_.head_dim)},
                               Param{"dv4", vectors(a_.value_dim)}, Param{"units", units}})
      if (std::ranges::find(wanted, param.member.name) != wanted.end()) call_.params({param});
    return *this;
  }
  AttentionCall& write_partials(BufferRef partials, std::int64_t splits) {
    call_.write("partials", partials).param("splits", splits);
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
  static ByteRange from(const AttentionTensor& t) { return elements_range(t.first, 0); }
  void give_strides(const StrideNames& names, const AttentionStrides& s) {
    call_.params({{names.batch, s.batch}, {names.head, s.head}, {names.row, s.row}});
  }

  const Attention& a_;
  KernelCall& call_;
};

// Results of workgroups that have a part of the keys each.
struct Partials {
  BufferRef buffer;
  std::int64_t splits;  // capacity
};

Partials make_partials(LowerContext& c, const Attention& a, const AttentionRoute& route) {
  const std::int64_t splits = split_capacity(a, route);
  const std::int64_t rows = a.batch * a.kv_heads * a.group * a.queries * splits;
  return {c.scratch(rows * (vectors(a.value_dim) + 1) * 4), splits};
}

// As many rows of workgroups as there are splits.
void set_split_grid(const Attention& a, KernelCall& call, const AttentionRoute& route) {
  const std::int64_t keys = route.split_keys;
  call.groups(route.groups, std::max<std::int64_t>(1, div_up(a.keys, keys)));
  if (a.position != kNoValue && a.keys_follow_position) call.live_rows(a.position, a.keys, keys);
}

void emit_merge(LowerContext& c, const Attention& a, const AttentionRoute& route,
                const Partials& partials) {
  AttentionCall merge(c, a, choose_merge_route(c, a, route, partials.splits));
  merge.param("queries", a.queries).param("splits", partials.splits);
  merge.write_out(a.batch * a.kv_heads).call().read("partials", partials.buffer);
}

// Null where the route has the result written as it is.
std::optional<Partials> emit_route(LowerContext& c, const Attention& a, const AttentionRoute& route,
                                   const FreshRows* fresh = nullptr) {
  const bool split = route.split_keys > 0;
  const Partials partials = split ? make_partials(c, a, route) : Partials{};
  AttentionCall call(c, a, route);
  fresh ? call.write_fresh(*fresh) : call.read_inputs();
  call.give(route.params, route.units);
  if (!split) {
    call.write_out(route.units);
    return std::nullopt;
  }
  call.write_partials(partials.buffer, partials.splits);
  set_split_grid(a, call.call(), route);
  if (route.fixed) call.call().fix_params();
  return partials;
}

// Rotates q into a scratch buffer, which takes q's place, and writes the new rows of k and v.
void emit_rotary_fresh(LowerContext& c, Attention& a, const FreshRows& fresh) {
  const std::int64_t heads = a.kv_heads * a.group, tokens = a.batch * a.queries;
  const std::int64_t d2 = div_up<std::int64_t>(a.head_dim, 2);
  const BufferRef rotated = c.scratch(tokens * heads * a.head_dim);
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

// The attention's output as a product's one row, joined there.
GemmDoor split_rows(const LowerContext& c, const Attention& a, const AttentionRoute& route,
                    const Partials& partials) {
  const std::int64_t quads = a.kv_heads * a.group * vectors(a.value_dim);
  GemmDoor door{.fragment = "gemm_rows_attention", .buffers = {{"partials", partials.buffer}}};
  door.defines = {{"KEYS", a.keys},
                  {"SPLIT", route.split_keys},
                  {"SPLITS", partials.splits},
                  {"DV4", vectors(a.value_dim)},
                  {"QUADS", quads},
                  {"AHEAD", c.is_software() ? 1 : 4}};
  door.scalar = GemmDoor::Scalar{"position", a.position};
  door.workgroup_bytes = static_cast<std::int64_t>(storage_bytes(Storage::F32, 4 * quads));
  return door;
}

bool is_empty(const Attention& a) {
  return a.batch * a.kv_heads * a.group * a.queries * a.value_dim == 0;
}

}  // namespace

Result<void> emit_attention(LowerContext& c, const Attention& a) {
  if (is_empty(a)) return {};
  CHECK_OR_FAIL(a.head_dim > 0, ErrorKind::InvalidProgram, "attention over heads of 0 elements");
  const AttentionRoute route = choose_attention_route(c, a);
  if (const auto partials = emit_route(c, a, route)) emit_merge(c, a, route, *partials);
  return {};
}

Result<std::optional<GemmDoor>> emit_fresh_attention(LowerContext& c, Attention a,
                                                     const FreshRows& fresh, bool may_stay_split) {
  if (is_empty(a)) return std::nullopt;
  const std::optional<AttentionRoute> route = choose_fresh_route(c, a);
  if (!route) {
    emit_rotary_fresh(c, a, fresh);
    TRY(emit_attention(c, a));
    return std::nullopt;
  }
  const auto partials = emit_route(c, a, *route, &fresh);
  const bool live = a.position != kNoValue && a.keys_follow_position;
  if (may_stay_split && a.batch == 1 && live && a.value_dim % 4 == 0)
    return split_rows(c, a, *route, *partials);
  emit_merge(c, a, *route, *partials);
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
