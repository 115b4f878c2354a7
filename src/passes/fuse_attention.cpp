// Fuses a rotary embedding into the attention over a cache that reads its outputs: one
// "fused.rope_sdpa" (ops/attention.cpp) in place of the attention; the embedding is left without
// readers.
#include <array>

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
    for (ValueId v : std::array{source.args[kRopeQ], source.args[kRopeK], source.args[kRopeCos],
                                source.args[kRopeSin]}) {
      if (is_written(v)) return;
    }
    const ValueId row = halves ? source.args[kRopeRow] : graph_.add(std::int64_t{0});
    const ValueId form = graph_.add(halves);
    call.args = {source.args[kRopeQ],
                 source.args[kRopeK],
                 call.args[kV],
                 call.args[kKCache],
                 call.args[kVCache],
                 call.args[kStart],
                 call.args[kMask],
                 call.args[kCausal],
                 call.args[kScale],
                 source.args[kRopeCos],
                 source.args[kRopeSin],
                 row,
                 form,
                 call.args[kOut]};
    call.name = "fused.rope_sdpa";
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

}  // namespace

void fuse_attention(Graph& graph) { AttentionFusion(graph).run(); }

}  // namespace etwebgpu
