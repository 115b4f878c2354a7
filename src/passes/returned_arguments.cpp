// Outputs that are a call's own arguments, written in place.
#include <algorithm>
#include <numeric>

#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

std::vector<ValueId> written_in_place(const Call& call) {
  std::vector<ValueId> out;
  const Op* op = find_op(call.name);
  for (std::size_t a = 0; op && a + 1 < call.args.size(); ++a)
    if (holds(op->mutated_args, a)) out.push_back(call.args[a]);
  return out;
}

}  // namespace

void replace_returned_arguments(Graph& graph) {
  std::vector<ValueId> stands_for(graph.values.size());  // by ValueId
  std::iota(stands_for.begin(), stands_for.end(), 0);
  const auto replace = [&](ValueId& v) { v = stands_for[static_cast<std::size_t>(v)]; };
  for (Call& call : graph.calls) {
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) {
      replace(call.args[a]);
      if (auto* list =
              std::get_if<ValueList>(&graph.values[static_cast<std::size_t>(call.args[a])]))
        std::ranges::for_each(list->items, replace);
    }
    if (call.args.empty()) continue;
    const auto* returned = std::get_if<ValueList>(&graph.value(call.args.back()));
    const std::vector<ValueId> written = written_in_place(call);
    if (!returned || returned->items.size() != written.size()) continue;
    for (std::size_t i = 0; i < written.size(); ++i)
      stands_for[static_cast<std::size_t>(returned->items[i])] = written[i];
  }
  std::ranges::for_each(graph.outputs, replace);
}

}  // namespace etwebgpu
