// Which mutable tensors may be stored as f16: those that only operators prepared for it touch.
#include <algorithm>

#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {

std::vector<std::uint8_t> find_half_states(const Graph& graph, const Aliasing& aliasing) {
  std::vector<std::uint8_t> half(graph.values.size(), 0);
  const auto root = [&](ValueId v) {
    return static_cast<std::size_t>(aliasing.storage[static_cast<std::size_t>(v)]);
  };
  for (std::size_t v = 0; v < half.size(); ++v) {
    const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
    half[v] = aliasing.mutated[v] && info && is_floating(info->dtype) && !info->bound.empty() &&
              info->bound.back() % 2 == 0;
  }
  auto forbid = [&](auto&& self, ValueId v) -> void {
    if (graph.tensor(v)) half[root(v)] = 0;
    if (const auto* list = std::get_if<ValueList>(&graph.value(v))) {
      for (ValueId item : list->items) self(self, item);
    }
  };
  for (ValueId v : graph.outputs) forbid(forbid, v);
  for (const Call& call : graph.calls) {
    const Op* op = find_op(call.name);
    // A view that shares its source's memory is not a use of it.
    if (op && op->is_view && call.args.size() >= 2 && graph.tensor(call.args.front()) &&
        root(call.args.front()) == root(call.args.back())) {
      continue;
    }
    for (std::size_t a = 0; a < call.args.size(); ++a) {
      const bool prepared = op && a < 32 && (op->half_args >> a & 1) && graph.tensor(call.args[a]);
      if (!prepared) forbid(forbid, call.args[a]);
    }
  }
  return half;
}

}  // namespace etwebgpu
