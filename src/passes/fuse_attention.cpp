// Fuses a rotary embedding into the attention over a cache that reads its outputs: one
// fused_attention::kName (ops/attention.cpp) in place of the attention; the embedding is left
// without readers, as are slices that cut its tables at the position. Then, where a 4-bit linear
// layer right behind is all that reads it, the two into one fused_attention::kProjectedName in
// place of the linear layer.
#include <algorithm>
#include <array>
#include <optional>

#include "ops/fused.h"
#include "passes/graph_index.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

constexpr std::string_view kPairs = "et_vk.apply_rotary_emb.default";
constexpr std::string_view kHalves = "et_vk.apply_rotary_emb_hf.default";

// Arguments of sdpa_with_kv_cache.
enum { kQ, kK, kV, kKCache, kVCache, kStart, kLength, kMask, kDropout, kCausal, kScale, kOut };
// Arguments of the rotary embeddings; kHalves has a first row before its outputs.
enum { kRopeQ, kRopeK, kRopeCos, kRopeSin, kRopeRow };
// Arguments of slice_copy.
enum { kSliced, kDim, kFirst, kEnd, kStep };
namespace plain = linear_q4gsw;
namespace fused = fused_linear;

class AttentionFusion {
 public:
  explicit AttentionFusion(Graph& graph) : graph_(graph), index_(graph) {}

  void run() {
    const auto count = static_cast<std::int32_t>(graph_.calls.size());
    for (std::int32_t c = 0; c < count; ++c) fuse(c);
    remove_dead_calls(graph_);
  }

 private:
  void fuse(std::int32_t c) {
    Call& call = graph_.calls[static_cast<std::size_t>(c)];
    if (call.name != "sdpa_with_kv_cache.default") return;
    const std::int32_t rope = index_.producer(index_.behind_views(call.args[kQ]));
    if (rope == kNoCall) return;
    const Call& source = index_.call(rope);
    const bool halves = source.name == kHalves;
    if (!halves && source.name != kPairs) return;
    const auto* outputs = std::get_if<ValueList>(&graph_.value(source.args.back()));
    if (!outputs || outputs->items.size() != 2) return;
    if (!takes(call.args[kQ], outputs->items[0], c) ||
        !takes(call.args[kK], outputs->items[1], c)) {
      return;
    }
    const TensorInfo* cos = graph_.tensor(source.args[kRopeCos]);
    if (!cos || cos->bound.rank() != 2) return;  // a table for each head
    const Tables tables = tables_of(source, halves);
    for (ValueId v : std::array{source.args[kRopeQ], source.args[kRopeK], tables.cos, tables.sin}) {
      if (is_written(v)) return;
    }
    const ValueId form = graph_.add(halves);
    const Call attention = call;
    for (const Call* covered : {&attention, &source, tables.cos_cut, tables.sin_cut})
      if (covered) cover(call, *covered);
    call.args = {source.args[kRopeQ],
                 source.args[kRopeK],
                 call.args[kV],
                 call.args[kKCache],
                 call.args[kVCache],
                 call.args[kStart],
                 call.args[kMask],
                 call.args[kCausal],
                 call.args[kScale],
                 tables.cos,
                 tables.sin,
                 tables.row,
                 form,
                 call.args[kOut]};
    call.name = fused_attention::kName;
  }

  struct Tables {
    ValueId cos, sin, row;
    const Call *cos_cut = nullptr, *sin_cut = nullptr;
  };

  // Of whole tables with a first row, where they were cut to the queries' rows before.
  Tables tables_of(const Call& rope, bool halves) {
    const ValueId cos = rope.args[kRopeCos], sin = rope.args[kRopeSin];
    if (halves) return {cos, sin, rope.args[kRopeRow]};
    const std::int64_t queries = graph_.tensor(rope.args[kRopeQ])->bound[1];
    const Call *cos_cut = rows_cut(cos, queries), *sin_cut = rows_cut(sin, queries);
    if (!cos_cut || !sin_cut || cos_cut->args[kFirst] != sin_cut->args[kFirst])
      return {cos, sin, graph_.add(std::int64_t{0})};
    return {cos_cut->args[kSliced], sin_cut->args[kSliced], cos_cut->args[kFirst], cos_cut,
            sin_cut};
  }

  // The slice that v is, if of so many rows of a matrix from a live one on.
  const Call* rows_cut(ValueId v, std::int64_t rows) const {
    const std::int32_t slice = index_.computed_by(v, "aten.slice_copy.Tensor");
    if (slice == kNoCall) return nullptr;
    const Call& call = index_.call(slice);
    const TensorInfo *from = graph_.tensor(call.args[kSliced]), *to = graph_.tensor(v);
    const bool fits = graph_.is_symint(call.args[kFirst]) && graph_.is_int(call.args[kDim], 0) &&
                      (graph_.is_int(call.args[kStep], 1) || graph_.is_none(call.args[kStep])) &&
                      from->bound.rank() == 2 && to->bound == Dims{rows, from->bound[1]};
    return fits ? &call : nullptr;
  }

  // The attention reads the embedding's output as it is, and nothing else does.
  bool takes(ValueId argument, ValueId output, std::int32_t reader) const {
    return index_.behind_views(argument) == output && index_.only_read_by(output, reader) &&
           graph_.tensor(argument)->bound == graph_.tensor(output)->bound;
  }

  // A buffer that calls write in place may have other contents by the time of the attention.
  bool is_written(ValueId v) const {
    const ValueId root = index_.behind_views(v);
    for (const Call& call : graph_.calls) {
      const Op* op = find_op(call.name);
      for (std::size_t a = 0; op && op->mutated_args >> a != 0 && a < call.args.size(); ++a) {
        if ((op->mutated_args >> a & 1) && index_.behind_views(call.args[a]) == root) return true;
      }
    }
    return false;
  }

  Graph& graph_;
  const GraphIndex index_;
};

class ProjectionFusion {
 public:
  explicit ProjectionFusion(Graph& graph) : graph_(graph), index_(graph) {}

  void run() {
    const auto count = static_cast<std::int32_t>(graph_.calls.size());
    for (std::int32_t c = 0; c < count; ++c) fuse(c);
    std::erase_if(graph_.calls, [](const Call& covered) { return covered.name.empty(); });
    remove_dead_calls(graph_);
  }

 private:
  void fuse(std::int32_t c) {
    Call& linear = graph_.calls[static_cast<std::size_t>(c)];
    const std::optional<std::array<ValueId, 7>> projection = projection_of(linear);
    if (!projection) return;
    const ValueId x = linear.args[fused::kX];
    const std::int32_t source = index_.computed_by(x, fused_attention::kName);
    if (source == kNoCall || !index_.only_read_by(index_.call(source).args.back(), c)) return;
    if (!is_next(source, c) || !flattens_heads(index_.call(source), x)) return;
    Call& attention = graph_.calls[static_cast<std::size_t>(source)];
    std::vector<ValueId> args = std::move(attention.args);
    args.pop_back();
    args.insert(args.end(), projection->begin(), projection->end());
    const Call projected = linear;
    for (const Call* covered : {&std::as_const(attention), &projected}) cover(linear, *covered);
    linear.name = fused_attention::kProjectedName;
    linear.args = std::move(args);
    attention = Call{};
  }

  // Weight, scales, group, bias, residual, whether only the last row is taken, and output of a
  // linear layer with one output, no norm and no activation.
  std::optional<std::array<ValueId, 7>> projection_of(const Call& call) {
    if (call.name == plain::kName) {
      const ValueId none = graph_.add(std::monostate{});
      return std::array{call.args[plain::kWeight],
                        call.args[plain::kScales],
                        call.args[plain::kGroup],
                        call.args[plain::kBias],
                        none,
                        graph_.add(false),
                        call.args[plain::kOut]};
    }
    if (call.name != fused::kName) return std::nullopt;
    const auto items = [&](std::size_t arg) -> std::span<const ValueId> {
      const auto* list = std::get_if<ValueList>(&graph_.value(call.args[arg]));
      return list ? list->items : std::span<const ValueId>();
    };
    const auto* gated = std::get_if<bool>(&graph_.value(call.args[fused::kGated]));
    if (items(fused::kOuts).size() != 1 || !gated || *gated ||
        !graph_.is_none(call.args[fused::kNorm]) || !graph_.is_none(call.args[fused::kActivation]))
      return std::nullopt;
    const ValueId bias =
        items(fused::kBiases).empty() ? call.args[fused::kBiases] : items(fused::kBiases)[0];
    return std::array{
        items(fused::kWeights)[0],   items(fused::kScales)[0], call.args[fused::kGroup], bias,
        call.args[fused::kResidual], call.args[fused::kLast],  items(fused::kOuts)[0]};
  }

  // Only views lie between the two calls: the caches and the residual are the same for both.
  bool is_next(std::int32_t first, std::int32_t second) const {
    for (std::int32_t c = first + 1; c < second; ++c) {
      const Op* op = find_op(index_.call(c).name);
      if (!op || !op->is_view) return false;
    }
    return first < second;
  }

  // x [B, S, heads * head dim] of the attention's [B, S, heads, head dim], as recorded.
  bool flattens_heads(const Call& attention, ValueId x) const {
    const Dims &q = graph_.tensor(attention.args[0])->bound, &flat = graph_.tensor(x)->bound;
    return q.rank() == 4 && flat == Dims{q[0], q[1], q[2] * q[3]};
  }

  Graph& graph_;
  const GraphIndex index_;
};

}  // namespace

void fuse_attention(Graph& graph) {
  AttentionFusion(graph).run();
  ProjectionFusion(graph).run();
}

}  // namespace etwebgpu
