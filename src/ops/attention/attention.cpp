// Scaled dot-product attention over a KV cache or over plain tensors, and KV-cache writes.
//
//   sdpa_with_kv_cache.default(q [B,S,Hq,D], k, v [B,S,Hk,D], k_cache, v_cache [B,C,Hk,D]
//   (written),
//                              start_pos, seq_len (ignored: S is q's), mask?, dropout (ignored),
//                              causal, scale?) -> [B,S,Hq,D]
//   custom_sdpa.default(q, k_cache, v_cache, start_pos, mask?, dropout, causal, scale?)
//   update_cache.default(value [B,S,H,D], cache [B,C,H,D] (written), start_pos) -> a placeholder
//   et_vk.sdpa.default(q [..,S,D], k [..,K,D], v [..,K,Dv], mask?, scale?) -> [..,S,Dv]
//
//   fused.rope_sdpa(q, k, v, k_cache, v_cache, start_pos, mask?, causal, scale?, cos, sin, first
//   row,
//                   halves) -> as sdpa_with_kv_cache of q and k after a rotary embedding: of pairs
//                   (2i, 2i+1) by cos and sin [S, D/2], or with `halves` of pairs (i, i + R/2) by
//                   cos and sin [rows, R] from the first row on. Made by passes/fuse_attention.cpp.
//   fused.rope_sdpa_q4gsw(.. as fused.rope_sdpa, weight, scales, G, bias?, residual? [B,S,N], last)
//                   -> [B,S,N]: et_vk.linear_q4gsw of the attention's [B,S,Hq*D], plus the
//                   residual; with `last`, where B is 1, the last row of that: [1,1,N]
//
//   fused.sdpa(q, k, v, mask?, scale?, transposed, ..) -> as et_vk.sdpa of operands and an output
//   that
//                   are read and written by strides (ops/fused.h). Made by passes/fuse_sdpa.cpp.
//
// Without a mask the keys are the cache's first start_pos + S positions; with one, all C of them,
// and the mask ([S, C], or broadcasting to [B, Hq, S, C]) is added to the scores. Query heads share
// kv heads in groups of Hq / Hk. The default scale is 1 / sqrt(D). A query whose mask
// hides all keys gives NaN, as softmax does; where there are no keys it gives 0.
#include "ops/attention/attention.h"

#include <cmath>
#include <limits>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/fused.h"
#include "ops/linear/linear.h"
#include "ops/movement/strided.h"

namespace etwebgpu {
namespace {

// --- Sizes ---

Result<void> check_room(const InferContext& c, std::size_t position, std::int64_t tokens,
                        std::int64_t capacity) {
  if (c.at_load()) return {};
  return check_position(c.integer(position), tokens, capacity, "the cache's");
}

Result<void> check_cache(const Dims& value, const Dims& cache, std::string_view what) {
  CHECK_OR_FAIL(value.rank() == 4 && cache.rank() == 4 && value[0] == cache[0] &&
                    value[2] == cache[2] && value[3] == cache[3],
                ErrorKind::InvalidProgram, what, " has sizes ", to_string(value),
                ", which do not fit a cache of sizes ", to_string(cache));
  return {};
}

Result<void> check_query(const Dims& q, const Dims& k_cache, const Dims& v_cache) {
  CHECK_OR_FAIL(q.rank() == 4 && k_cache.rank() == 4 && k_cache == v_cache,
                ErrorKind::InvalidProgram, "q ", to_string(q), " and caches ", to_string(k_cache),
                " and ", to_string(v_cache), " must be [batch, positions, heads, head dim]");
  CHECK_OR_FAIL(q[0] == k_cache[0] && q[3] == k_cache[3], ErrorKind::InvalidProgram, "q ",
                to_string(q), " and the caches ", to_string(k_cache),
                " differ in batch or head dim");
  CHECK_OR_FAIL(k_cache[2] > 0 && q[2] % k_cache[2] == 0, ErrorKind::InvalidProgram, q[2],
                " query heads do not divide into ", k_cache[2], " kv heads");
  return {};
}

// The mask must broadcast to `sizes` from the right.
Result<void> check_mask(const InferContext& c, std::size_t arg, const Dims& sizes) {
  if (c.is_none(arg)) return {};
  const Dims& mask = c.sizes(arg);
  bool fits = mask.rank() <= sizes.rank() && is_floating(c.dtype(arg));
  for (std::size_t i = 0; fits && i < mask.rank(); ++i) {
    const std::int64_t wanted = sizes[sizes.rank() - mask.rank() + i];
    fits = mask[i] == wanted || mask[i] == 1;
  }
  CHECK_OR_FAIL(fits || c.at_load(), ErrorKind::InvalidProgram, "the mask ", to_string(mask),
                " does not broadcast to ", to_string(sizes));
  return {};
}

AttentionMask mask_of(const LowerContext& c, std::size_t arg, const Dims& sizes) {
  AttentionMask out;
  if (c.is_none(arg)) return out;
  const Dims& mask = c.sizes(arg);
  const Dims strides = contiguous_strides(mask);
  auto stride = [&](std::size_t from_right) -> std::int64_t {
    if (from_right > mask.rank()) return 0;
    const std::size_t i = mask.rank() - from_right;
    return mask[i] == 1 ? 0 : strides[i];
  };
  out.buffer = c.value(arg);
  out.column = stride(1);
  out.row = stride(2);
  out.head = stride(3);
  out.batch = sizes.rank() == 4 ? stride(4) : 0;
  return out;
}

double scale_of(const LowerContext& c, std::size_t arg, std::int64_t head_dim) {
  return c.number_or(arg,
                     1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(head_dim, 1))));
}

// --- Over a cache ---

// [batch, positions, heads, head dim]
AttentionStrides cache_layout(const Dims& d) { return {d[1] * d[2] * d[3], d[3], d[2] * d[3]}; }

struct CacheArguments {
  std::size_t q, k_cache, v_cache, start, mask, causal, scale;
};

Attention cached_attention(const LowerContext& c, const CacheArguments& a) {
  const Dims &q = c.sizes(a.q), &cache = c.sizes(a.k_cache);
  Attention out;
  out.batch = q[0];
  out.queries = q[1];
  out.kv_heads = cache[2];
  out.group = q[2] / cache[2];
  out.head_dim = out.value_dim = q[3];
  out.causal = c.boolean(a.causal);
  out.scale = scale_of(c, a.scale, q[3]);
  out.q = {c.value(a.q), cache_layout(q)};
  out.k = {c.value(a.k_cache), cache_layout(cache)};
  out.v = {c.value(a.v_cache), cache_layout(cache)};
  out.out = {c.output(), cache_layout(q)};
  out.half = c.storage(a.k_cache) == Storage::HalfPairs;
  out.mask = mask_of(c, a.mask, {q[0], q[2], q[1], cache[1]});
  const bool masked = out.mask.buffer.index >= 0;
  out.keys = masked ? cache[1] : q[1];
  out.most_keys = cache[1];
  out.keys_follow_position = !masked;
  if (c.is_symint(a.start)) {
    out.position = c.id(a.start);
  } else {
    out.offset = c.integer(a.start);
    if (!masked) out.keys += out.offset;
  }
  return out;
}

constexpr CacheArguments kSdpaArguments{0, 3, 4, 5, 7, 9, 10};
constexpr CacheArguments kCustomArguments{0, 1, 2, 3, 4, 6, 7};

Result<void> check_cached(const InferContext& c, const CacheArguments& a) {
  const Dims &q = c.sizes(a.q), &cache = c.sizes(a.k_cache);
  TRY(check_query(q, cache, c.sizes(a.v_cache)));
  TRY(check_room(c, a.start, q[1], cache[1]));
  return check_mask(c, a.mask, {q[0], q[2], q[1], cache[1]});
}

Result<void> infer_cached(InferContext& c, const CacheArguments& a) {
  TRY(check_cached(c, a));
  return c.set_output(c.sizes(a.q));
}

Result<void> infer_sdpa(InferContext& c) {
  TRY(check_cache(c.sizes(1), c.sizes(3), "k"));
  TRY(check_cache(c.sizes(2), c.sizes(4), "v"));
  CHECK_OR_FAIL(
      c.sizes(0).rank() == 4 && c.sizes(0)[1] == c.sizes(1)[1] && c.sizes(1) == c.sizes(2),
      ErrorKind::InvalidProgram, "q ", to_string(c.sizes(0)), ", k ", to_string(c.sizes(1)),
      " and v ", to_string(c.sizes(2)), " do not fit together");
  return infer_cached(c, kSdpaArguments);
}

Result<void> lower_sdpa(LowerContext& c) {
  const std::pair<std::size_t, std::size_t> writes[] = {{1, 3}, {2, 4}};
  emit_cache_update(c, writes, 5);
  return emit_attention(c, cached_attention(c, kSdpaArguments));
}

Result<void> infer_custom_sdpa(InferContext& c) { return infer_cached(c, kCustomArguments); }

Result<void> lower_custom_sdpa(LowerContext& c) {
  return emit_attention(c, cached_attention(c, kCustomArguments));
}

// --- With the rotary embedding before it ---

namespace fa = fused_attention;
constexpr CacheArguments kRopeArguments{fa::kQ,    fa::kKCache, fa::kVCache, fa::kStart,
                                        fa::kMask, fa::kCausal, fa::kScale};

Result<void> check_rope_sdpa(const InferContext& c) {
  const Dims &q = c.sizes(0), &cos = c.sizes(fa::kCos);
  TRY(check_cache(c.sizes(1), c.sizes(3), "k"));
  TRY(check_cache(c.sizes(2), c.sizes(4), "v"));
  CHECK_OR_FAIL(q.rank() == 4 && q[1] == c.sizes(1)[1] && c.sizes(1) == c.sizes(2),
                ErrorKind::InvalidProgram, "q ", to_string(q), ", k ", to_string(c.sizes(1)),
                " and v ", to_string(c.sizes(2)), " do not fit together");
  // First: a table cut at a position past its end would be blamed for its sizes.
  TRY(check_cached(c, kRopeArguments));
  const std::int64_t rotated = cos.empty() ? 0 : cos.back() * (c.boolean(fa::kHalves) ? 1 : 2);
  CHECK_OR_FAIL(cos.rank() == 2 && cos == c.sizes(fa::kSin) && rotated % 2 == 0 && rotated <= q[3],
                ErrorKind::InvalidProgram, "cos ", to_string(cos), " and sin ",
                to_string(c.sizes(fa::kSin)), " do not fit q ", to_string(q));
  if (c.at_load()) return {};
  return check_position(c.integer(fa::kRow), q[1], cos[0], "the rotary table's");
}

Result<void> infer_rope_sdpa(InferContext& c) {
  TRY(check_rope_sdpa(c));
  return c.set_output(c.sizes(0));
}

FreshRows fresh_rows(const LowerContext& c) {
  FreshRows fresh;
  fresh.k = c.value(1);
  fresh.v = c.value(2);
  fresh.cos = c.value(fa::kCos);
  fresh.sin = c.value(fa::kSin);
  fresh.halves = c.boolean(fa::kHalves);
  fresh.table_pitch = c.sizes(fa::kCos)[1];
  fresh.rotated = fresh.table_pitch * (fresh.halves ? 1 : 2);
  if (c.is_symint(fa::kRow)) {
    fresh.live_row = c.id(fa::kRow);
  } else {
    fresh.table_row = c.integer(fa::kRow);
  }
  return fresh;
}

Result<void> lower_rope_sdpa(LowerContext& c) {
  TRY(emit_fresh_attention(c, cached_attention(c, kRopeArguments), fresh_rows(c), false));
  return {};
}

// --- And with the projection behind it ---

// The attention's output as the projection takes it, and what it takes of that.
Dims flattened(const Dims& q) { return {q[0], q[1], q[2] * q[3]}; }
Dims projected(const CallContext& c) {
  const Dims& q = c.sizes(0);
  return c.boolean(fa::kProjectionLast) ? Dims{1, 1, q[2] * q[3]} : flattened(q);
}

Result<void> infer_rope_sdpa_q4gsw(InferContext& c) {
  TRY(check_rope_sdpa(c));
  if (c.boolean(fa::kProjectionLast)) TRY(check_last_row(c.sizes(0)));
  TRY(infer_group_part(c, projected(c), c.integer(fa::kProjectionGroup), c.id(fa::kProjection),
                       c.id(fa::kProjectionScales), c.optional_id(fa::kProjectionBias),
                       c.output_id()));
  return check_residual(c, fa::kProjectionResidual, c.output_id(), c.boolean(fa::kProjectionLast));
}

Result<void> lower_rope_sdpa_q4gsw(LowerContext& c) {
  const Dims& q = c.sizes(0);
  Attention attention = cached_attention(c, kRopeArguments);
  attention.out.buffer = c.scratch(q.numel());
  Gemm linear = group_linear(attention.out.buffer, projected(c), c.integer(fa::kProjectionGroup));
  TRY_ASSIGN(linear.parts.emplace_back(),
             group_part(c, c.id(fa::kProjection), c.id(fa::kProjectionScales),
                        c.optional_id(fa::kProjectionBias), output_width(c, c.output_id())));
  linear.outs = {c.output()};
  TRY_ASSIGN(linear.x_door,
             emit_fresh_attention(c, attention, fresh_rows(c),
                                  takes_staged_row(c, linear.depth, linear.group_size)));
  if (c.boolean(fa::kProjectionLast)) take_last_row(c, linear.x, flattened(q));
  add_residual(c, linear, fa::kProjectionResidual, c.boolean(fa::kProjectionLast));
  return lower_gemm(c, linear);
}

// --- Cache writes ---

Result<void> infer_update_cache(InferContext& c) {
  TRY(check_cache(c.sizes(0), c.sizes(1), "value"));
  TRY(check_room(c, 2, c.sizes(0)[1], c.sizes(1)[1]));
  return c.set_output(c.bound(c.output_arg()));
}

Result<void> lower_update_cache(LowerContext& c) {
  const std::pair<std::size_t, std::size_t> writes[] = {{0, 1}};
  emit_cache_update(c, writes, 2);
  return {};
}

// --- Over plain tensors ---

// The output's sizes for q [.., S, D], k [.., K, D] and v [.., K, Dv].
Result<Dims> plain_sizes(const InferContext& c, const Dims& q, const Dims& k, const Dims& v) {
  const std::size_t rank = q.rank();
  CHECK_OR_FAIL(rank >= 2 && rank <= 4 && k.rank() == rank && v.rank() == rank,
                ErrorKind::InvalidProgram, "q ", to_string(q), ", k ", to_string(k), " and v ",
                to_string(v), " must have the same rank, from 2 to 4");
  CHECK_OR_FAIL(q[rank - 1] == k[rank - 1] && k[rank - 2] == v[rank - 2], ErrorKind::InvalidProgram,
                "q ", to_string(q), ", k ", to_string(k), " and v ", to_string(v),
                " do not fit together");
  Dims out = q;
  for (std::size_t i = 0; i + 2 < rank; ++i) {
    out[i] = q[i] == 1 ? (k[i] == 1 ? v[i] : k[i]) : q[i];
    for (const Dims* d : {&q, &k, &v}) {
      CHECK_OR_FAIL((*d)[i] == 1 || (*d)[i] == out[i], ErrorKind::InvalidProgram, "q ",
                    to_string(q), ", k ", to_string(k), " and v ", to_string(v),
                    " do not broadcast in dimension ", i);
    }
  }
  out[rank - 1] = k[rank - 2];
  TRY(check_mask(c, 3, out));
  out[rank - 1] = v[rank - 1];
  return out;
}

Result<void> infer_plain(InferContext& c) {
  TRY_ASSIGN(const Dims out, plain_sizes(c, c.sizes(0), c.sizes(1), c.sizes(2)));
  return c.set_output(out);
}

// [batch, heads, positions, head dim] with leading dimensions missing or broadcast.
AttentionStrides plain_layout(const Strided& at) {
  const std::size_t rank = at.sizes.rank();
  AttentionStrides out{0, 0, at.strides[rank - 2]};
  if (rank >= 3 && at.sizes[rank - 3] != 1) out.head = at.strides[rank - 3];
  if (rank == 4 && at.sizes[0] != 1) out.batch = at.strides[0];
  return out;
}

AttentionTensor plain_tensor(const LowerContext& c, std::size_t arg) {
  return {c.value(arg), plain_layout(contiguous(c.sizes(arg)))};
}

// Of a problem whose tensors are given: the output's sizes are y, k's k_sizes.
Result<void> lower_uncached(LowerContext& c, Attention a, const Dims& y, const Dims& k_sizes) {
  const std::size_t rank = y.rank();
  a.batch = rank == 4 ? y[0] : 1;
  a.queries = y[rank - 2];
  a.kv_heads = rank >= 3 ? y[rank - 3] : 1;
  a.head_dim = k_sizes[rank - 1];
  a.value_dim = y[rank - 1];
  a.scale = scale_of(c, 4, a.head_dim);
  a.keys = a.most_keys = k_sizes[rank - 2];
  if (a.keys == 0 && y.numel() > 0) {
    emit_fill(c, 0.0);
    return {};
  }
  if (a.k.strides.head == 0 && a.v.strides.head == 0) std::swap(a.group, a.kv_heads);
  Dims scores = y;
  scores[rank - 1] = a.keys;
  a.mask = mask_of(c, 3, scores);
  return emit_attention(c, a);
}

Result<void> lower_plain(LowerContext& c) {
  const Dims& y = c.sizes(c.output_arg());
  Attention a;
  a.q = plain_tensor(c, 0);
  a.k = plain_tensor(c, 1);
  a.v = plain_tensor(c, 2);
  a.out = {c.output(), plain_layout(contiguous(y))};
  return lower_uncached(c, a, y, c.sizes(1));
}

// --- Over tensors that lie by strides ---

namespace fs = fused_sdpa;

Dims swapped_last(Dims d) {
  std::swap(d[d.rank() - 1], d[d.rank() - 2]);
  return d;
}

// k [.., keys, head dim]
Dims key_sizes(const CallContext& c) {
  const Dims& k = c.sizes(fs::kK);
  return c.boolean(fs::kTransposed) && k.rank() >= 2 ? swapped_last(k) : k;
}

// A view between the program's calls gave these sizes: with all leading dimensions, or with those
// as one.
Result<void> check_view(const InferContext& c, std::size_t arg, const Dims& sizes) {
  if (c.is_none(arg)) return {};
  const std::vector<std::int64_t> list = c.int_list(arg);
  const std::size_t rank = sizes.rank();
  const Dims joined{sizes.product(0, rank - 2), sizes[rank - 2], sizes[rank - 1]};
  const auto is = [&](const Dims& wanted) {
    return std::ranges::equal(list, wanted, [](std::int64_t given, std::int64_t extent) {
      return given == -1 || given == extent;
    });
  };
  CHECK_OR_FAIL(is(sizes) || is(joined), ErrorKind::NotSupported, "an attention's tensor of sizes ",
                to_string(sizes), " is viewed as ", list_text(list), " on the way");
  return {};
}

Dims permuted_output(const CallContext& c, const Dims& y) {
  if (c.is_none(fs::kOrder)) return y;
  Dims out;
  for (const std::int64_t d : c.int_list(fs::kOrder)) out.push_back(y[static_cast<std::size_t>(d)]);
  return out;
}

Result<void> infer_fused_sdpa(InferContext& c) {
  const Dims &q = c.sizes(fs::kQ), k = key_sizes(c), &v = c.sizes(fs::kV);
  TRY_ASSIGN(const Dims y, plain_sizes(c, q, k, v));
  if (!c.at_load()) {
    Dims scores = y;
    scores[y.rank() - 1] = k[k.rank() - 2];
    TRY(check_view(c, fs::kQSizes, q));
    TRY(check_view(c, fs::kKSizes, c.sizes(fs::kK)));
    TRY(check_view(c, fs::kVSizes, v));
    TRY(check_view(c, fs::kScoreSizes, scores));
    TRY(check_view(c, fs::kWeightSizes, scores));
    TRY(check_view(c, fs::kOutSizes, y));
  }
  return c.set_output(permuted_output(c, y));
}

// Rows must be contiguous, and begin where a binding may.
AttentionTensor strided_tensor(LowerContext& c, std::size_t arg, bool transposed) {
  StridedBuffer x = strided_argument(c, arg);
  if (transposed) x.at = {swapped_last(x.at.sizes), swapped_last(x.at.strides), x.at.first};
  const bool rows = x.at.sizes.back() == 1 || x.at.strides.back() == 1;
  const auto begin = static_cast<std::uint64_t>(x.at.first) * sizeof(float);
  if (!rows || begin % c.capabilities().storage_alignment != 0) x = copied(c, x);
  return {x.buffer, plain_layout(x.at), x.at.first};
}

Result<void> lower_fused_sdpa(LowerContext& c) {
  const Dims k = key_sizes(c), &out = c.sizes(c.output_arg());
  // The output's strides in the order that the attention has them.
  Strided at = contiguous(out);
  if (!c.is_none(fs::kOrder)) {
    const auto order = c.int_list(fs::kOrder);
    const Strided permuted = at;
    for (std::size_t d = 0; d < order.size(); ++d) {
      at.sizes[static_cast<std::size_t>(order[d])] = permuted.sizes[d];
      at.strides[static_cast<std::size_t>(order[d])] = permuted.strides[d];
    }
  }
  if (out.numel() == 0) return {};
  Attention a;
  a.out = {c.output(), plain_layout(at)};
  if (k[k.rank() - 2] > 0) {
    a.q = strided_tensor(c, fs::kQ, false);
    a.k = strided_tensor(c, fs::kK, c.boolean(fs::kTransposed));
    a.v = strided_tensor(c, fs::kV, false);
  }
  return lower_uncached(c, a, at.sizes, k);
}

constexpr Op kOps[] = {
    {.name = "sdpa_with_kv_cache.default",
     .signature = "ttttti_t?_if?>t",
     .infer = infer_sdpa,
     .lower = lower_sdpa,
     .mutated_args = args({3, 4}),
     .takes = {.half_pairs = args({3, 4})}},
    {.name = "custom_sdpa.default",
     .signature = "tttit?_if?>t",
     .infer = infer_custom_sdpa,
     .lower = lower_custom_sdpa,
     .takes = {.half_pairs = args({1, 2})}},
    {.name = "update_cache.default",
     .signature = "tti>t",
     .infer = infer_update_cache,
     .lower = lower_update_cache,
     .mutated_args = args({1}),
     .takes = {.half_pairs = args({1})}},
    {.name = fa::kName,
     .signature = "ttttti t?if?tti i>t",
     .infer = infer_rope_sdpa,
     .lower = lower_rope_sdpa,
     .mutated_args = args({3, 4}),
     .internal = true,
     .takes = {.half_pairs = args({3, 4})}},
    {.name = fa::kProjectedName,
     .signature = "ttttti t?if?tti i tti t?t?i>t",
     .infer = infer_rope_sdpa_q4gsw,
     .lower = lower_rope_sdpa_q4gsw,
     .mutated_args = args({3, 4}),
     .internal = true,
     .takes = {.half_pairs = args({3, 4})}},
    {.name = fs::kName,
     .signature = "tttt?f?i l? l?l?l?l?l?l? > t",
     .infer = infer_fused_sdpa,
     .lower = lower_fused_sdpa,
     .internal = true},
    {.name = "et_vk.sdpa.default",
     .signature = "tttt?f?>t",
     .infer = infer_plain,
     .lower = lower_plain},
};

}  // namespace

std::span<const Op> attention_ops() { return kOps; }

}  // namespace etwebgpu
