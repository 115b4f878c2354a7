// Programs whose states the exporter wrote down wrongly, as far as a graph shows it.
#include <algorithm>
#include <utility>

#include "passes/graph_index.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

// What a value is computed from: whether an input is among it, and which constants.
struct Ancestry {
  bool inputs = false;
  std::vector<ValueId> constants;
};

class Ancestors {
 public:
  explicit Ancestors(const Graph& graph)
      : graph_(graph), index_(graph), is_input_(graph.values.size(), 0) {
    for (ValueId v : graph.inputs) is_input_[static_cast<std::size_t>(v)] = 1;
  }

  Ancestry of(ValueId value) const {
    Ancestry out;
    std::vector<std::uint8_t> seen(graph_.values.size(), 0);
    std::vector<ValueId> open = {value};
    while (!open.empty()) {
      const ValueId v = open.back();
      open.pop_back();
      if (std::exchange(seen[static_cast<std::size_t>(v)], std::uint8_t{1})) continue;
      if (const auto* list = std::get_if<ValueList>(&graph_.value(v)))
        open.insert(open.end(), list->items.begin(), list->items.end());
      out.inputs |= is_input_[static_cast<std::size_t>(v)] != 0;
      const TensorInfo* info = graph_.tensor(v);
      if (info && info->constant >= 0) out.constants.push_back(v);
      if (index_.producer(v) == kNoCall) continue;
      const auto& args = index_.call(index_.producer(v)).args;
      open.insert(open.end(), args.begin(), args.end() - 1);
    }
    return out;
  }

  // True if a constant is only added to something: a bias. An update in place has what it updates
  // first, and here that is the other operand.
  bool is_bias(ValueId constant) const {
    return std::ranges::any_of(index_.readers(constant), [&](std::int32_t c) {
      const Call& call = index_.call(c);
      return call.name == "aten.add.Tensor" && index_.behind_views(call.args[1]) == constant &&
             index_.only_read_by(constant, c);
    });
  }

 private:
  const Graph& graph_;
  const GraphIndex index_;
  std::vector<std::uint8_t> is_input_;
};

bool is_alike(const TensorInfo& a, const TensorInfo& b) {
  return a.dtype == b.dtype && a.bound == b.bound;
}

// Whether an output may go unnoticed when the program has no place for it: only where another comes
// twice in its stead. All else shows in the number or the sizes of a call's values.
bool may_be_missed(const Graph& graph, const TensorInfo& output) {
  return 1 < std::ranges::count_if(graph.outputs, [&](ValueId v) {
           const TensorInfo* other = graph.tensor(v);
           return other && is_alike(*other, output);
         });
}

}  // namespace

Result<void> check_lost_states(const Graph& graph, const ConstantTest& is_zero) {
  const Ancestors ancestors(graph);
  const std::vector<std::uint8_t> kept = find_aliases(graph).mutated;
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const TensorInfo* out = graph.tensor(graph.outputs[i]);
    if (!out || out->constant >= 0 || !may_be_missed(graph, *out)) continue;
    const Ancestry ancestry = ancestors.of(graph.outputs[i]);
    for (ValueId v : ancestry.constants) {
      if (kept[static_cast<std::size_t>(v)]) continue;
      const TensorInfo& constant = *graph.tensor(v);
      if (!is_alike(constant, *out)) continue;
      bool looks_like_state = !ancestry.inputs;
      if (!looks_like_state && ancestors.is_bias(v)) continue;
      if (!looks_like_state && out->bound.numel() > 1) {
        TRY_ASSIGN(looks_like_state, is_zero(constant.constant));
      }
      CHECK_OR_FAIL(!looks_like_state, ErrorKind::InvalidProgram, "output ", i, " (",
                    name(out->dtype), " ", to_string(out->bound),
                    ") looks like the new contents of a mutable buffer, which nobody would keep: "
                    "export the model with the partitioner's option alias_buffer_mutations, or "
                    "through executorch_webgpu.lowering");
    }
  }
  return {};
}

// The exporter makes one operator of an attention and the cache writes before it, wherever those
// were: another write of such a cache may have been before or after.
Result<void> check_cache_writes(const Graph& graph) {
  constexpr std::string_view kAttention = "sdpa_with_kv_cache.default";
  const Aliasing aliasing = find_aliases(graph);
  std::vector<std::int32_t> last(graph.values.size(), kNoCall);  // to write each root
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const Call& call = graph.calls[c];
    const Op* op = find_op(call.name);
    for (std::size_t a = 0; op && a < call.args.size(); ++a) {
      if (!holds(op->mutated_args, a)) continue;
      const auto root =
          static_cast<std::size_t>(aliasing.storage[static_cast<std::size_t>(call.args[a])]);
      const std::int32_t before = std::exchange(last[root], static_cast<std::int32_t>(c));
      if (before == kNoCall) continue;
      const std::string& other = graph.calls[static_cast<std::size_t>(before)].name;
      CHECK_OR_FAIL((call.name == kAttention) == (other == kAttention), ErrorKind::InvalidProgram,
                    "call ", c, " ", call.name, " and call ", before, " ", other,
                    " write one cache: fusing one of them with its attention has changed their "
                    "order; write each cache once a step, or export the model through "
                    "executorch_webgpu.lowering");
    }
  }
  return {};
}

}  // namespace etwebgpu
