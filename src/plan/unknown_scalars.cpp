#include "plan/unknown_scalars.h"

#include <algorithm>

namespace etwebgpu {
namespace {

// True if `holds` is for the argument or an item of it.
template <typename Holds>
bool any_value(const Graph& graph, ValueId argument, const Holds& holds) {
  const auto* list = std::get_if<ValueList>(&graph.value(argument));
  return list ? std::ranges::any_of(list->items, holds) : holds(argument);
}

}  // namespace

std::vector<std::uint8_t> find_unknown_scalars(const Graph& graph, std::span<const Op* const> ops) {
  std::vector<std::uint8_t> unknown(graph.values.size(), 0);
  const auto is_unknown = [&](ValueId v) { return unknown[static_cast<std::size_t>(v)] != 0; };
  for (const ValueId v : graph.inputs) unknown[static_cast<std::size_t>(v)] = graph.is_symint(v);
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const Call& call = graph.calls[c];
    const ValueId out = call.args.back();
    if (!graph.is_symint(out)) continue;
    const std::span inputs(call.args.begin(), call.args.end() - 1);
    const bool follows = std::ranges::any_of(
        inputs, [&](ValueId argument) { return any_value(graph, argument, is_unknown); });
    unknown[static_cast<std::size_t>(out)] = ops[c]->reads_host || follows;
  }
  return unknown;
}

Result<void> check_may_wait(const Graph& graph, const Call& call,
                            std::span<const std::uint8_t> unknown, Error error) {
  const auto is_unknown = [&](ValueId v) { return unknown[static_cast<std::size_t>(v)] != 0; };
  const auto is_constant = [&](ValueId v) {
    return graph.tensor(v) && graph.tensor(v)->constant >= 0;
  };
  const std::span inputs(call.args.begin(), call.args.end() - 1);
  const auto waits = std::ranges::find_if(
      inputs, [&](ValueId argument) { return any_value(graph, argument, is_unknown); });
  if (waits == inputs.end()) return std::unexpected(std::move(error));
  const bool has_constants = std::ranges::any_of(
      inputs, [&](ValueId argument) { return any_value(graph, argument, is_constant); });
  CHECK_OR_FAIL(!has_constants, ErrorKind::NotSupported, "argument ", waits - inputs.begin(),
                " (value ", *waits,
                ") is a SymInt, whose value is not known at load, where the call's constants are "
                "laid out: a number is needed there");
  return {};
}

}  // namespace etwebgpu
