#include <algorithm>

#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

class Liveness {
 public:
  explicit Liveness(const Graph& graph) : graph_(graph), needed_(graph.values.size(), 0) {
    for (ValueId v : graph.outputs) need(v);
  }

  bool keeps(const Call& call, bool overwrites) const {
    const Op* op = find_op(call.name);
    if (!op || op->mutated_args != 0 || overwrites || call.args.empty()) return true;
    // A signature without outputs is there for its check alone (_assert_scalar).
    if (op->signature.ends_with('>')) return true;
    return outputs_of(*op) > 1 || is_needed(call.args.back());
  }

  void need_inputs(const Call& call) {
    for (ValueId v : call.args) need(v);
  }

 private:
  static std::ptrdiff_t outputs_of(const Op& op) {
    const auto outputs = op.signature.substr(op.signature.find('>') + 1);
    return std::ranges::count_if(outputs, [](char c) { return c != ' ' && c != '?'; });
  }
  void need(ValueId v) {
    needed_[static_cast<std::size_t>(v)] = 1;
    if (const auto* list = std::get_if<ValueList>(&graph_.value(v))) {
      for (ValueId item : list->items) need(item);
    }
  }
  bool is_needed(ValueId v) const {
    if (needed_[static_cast<std::size_t>(v)]) return true;
    const auto* list = std::get_if<ValueList>(&graph_.value(v));
    return list && std::ranges::any_of(list->items, [this](ValueId i) { return is_needed(i); });
  }

  const Graph& graph_;
  std::vector<std::uint8_t> needed_;
};

}  // namespace

void remove_dead_calls(Graph& graph) {
  Liveness liveness(graph);
  const std::vector<std::uint8_t> overwrites = find_overwrites(graph);
  std::vector<Call> kept;
  for (std::size_t c = graph.calls.size(); c-- > 0;) {
    Call& call = graph.calls[c];
    if (!liveness.keeps(call, overwrites[c])) continue;
    liveness.need_inputs(call);
    kept.push_back(std::move(call));
  }
  std::ranges::reverse(kept);
  graph.calls = std::move(kept);
}

}  // namespace etwebgpu
