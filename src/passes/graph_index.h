// Who writes and who reads each value: what pattern matching asks of a graph.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {

inline constexpr std::int32_t kNoCall = -1;

class GraphIndex {
 public:
  explicit GraphIndex(const Graph& graph);

  const Call& call(std::int32_t index) const {
    return graph_.calls[static_cast<std::size_t>(index)];
  }
  // The call that writes v, or kNoCall for inputs and constants.
  std::int32_t producer(ValueId v) const { return producer_[static_cast<std::size_t>(v)]; }
  // Calls that read v, directly or in a list, in order.
  std::span<const std::int32_t> users(ValueId v) const {
    return users_[static_cast<std::size_t>(v)];
  }
  bool is_output(ValueId v) const { return is_output_[static_cast<std::size_t>(v)] != 0; }

  // The value whose elements v has: v itself, or what its chain of views looks at.
  ValueId behind_views(ValueId v) const;
  // The call that computed v's elements, views skipped; kNoCall unless its name is `name`.
  std::int32_t computed_by(ValueId v, std::string_view name) const;
  // Calls but views that read v or a view of it.
  std::vector<std::int32_t> readers(ValueId v) const;
  // True if v and every view of it have exactly one reader, the call `reader`.
  bool only_read_by(ValueId v, std::int32_t reader) const;

 private:
  bool is_view(std::int32_t call) const;
  // v, and what looks at it or at a view of it.
  std::vector<ValueId> views_of(ValueId v) const;

  const Graph& graph_;
  std::vector<std::int32_t> producer_;
  std::vector<std::vector<std::int32_t>> users_;
  std::vector<std::uint8_t> is_output_;
};

// Offers every call to a rewrite, once, with an index that says who writes and reads each value as
// it was before the first: what a rewrite covers stays in its place, without readers or without a
// name, and goes at the end.
template <typename Rewrite>
void rewrite_calls(Graph& graph, const Rewrite& rewrite) {
  const GraphIndex index(graph);
  const auto count = static_cast<std::int32_t>(graph.calls.size());
  for (std::int32_t c = 0; c < count; ++c) rewrite(index, c);
  std::erase_if(graph.calls, [](const Call& covered) { return covered.name.empty(); });
  remove_dead_calls(graph);
}

}  // namespace etwebgpu
