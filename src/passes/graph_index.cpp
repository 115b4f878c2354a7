#include "passes/graph_index.h"

#include <algorithm>
#include <iterator>

namespace etwebgpu {
namespace {

template <typename Visit>
void for_each_value(const Graph& graph, ValueId v, const Visit& visit) {
  visit(v);
  if (const auto* list = std::get_if<ValueList>(&graph.value(v))) {
    for (ValueId item : list->items) for_each_value(graph, item, visit);
  }
}

}  // namespace

GraphIndex::GraphIndex(const Graph& graph)
    : graph_(graph),
      producer_(graph.values.size(), kNoCall),
      users_(graph.values.size()),
      is_output_(graph.values.size(), 0) {
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const Call& call = graph.calls[c];
    const auto index = static_cast<std::int32_t>(c);
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) {
      for_each_value(graph, call.args[a], [&](ValueId v) {
        auto& users = users_[static_cast<std::size_t>(v)];
        if (users.empty() || users.back() != index) users.push_back(index);
      });
    }
    if (call.args.empty()) continue;
    for_each_value(graph, call.args.back(),
                   [&](ValueId v) { producer_[static_cast<std::size_t>(v)] = index; });
  }
  for (ValueId v : graph.outputs) is_output_[static_cast<std::size_t>(v)] = 1;
}

bool GraphIndex::is_view(std::int32_t index) const {
  const Op* op = find_op(call(index).name);
  if (!op || !op->is_view) return false;
  const TensorInfo* in = graph_.tensor(call(index).args.front());
  const TensorInfo* out = graph_.tensor(call(index).args.back());
  return in && out && is_floating(in->dtype) == is_floating(out->dtype);
}

ValueId GraphIndex::behind_views(ValueId v) const {
  for (;;) {
    const std::int32_t view = producer(v);
    if (view == kNoCall || !is_view(view)) return v;
    const ValueId source = call(view).args.front();
    if (producer(source) >= view) return v;  // written since: what was looked at is gone
    v = source;
  }
}

std::int32_t GraphIndex::computed_by(ValueId v, std::string_view name) const {
  const std::int32_t index = producer(behind_views(v));
  return index != kNoCall && call(index).name == name ? index : kNoCall;
}

std::vector<ValueId> GraphIndex::views_of(ValueId v) const {
  std::vector<ValueId> out = {v};
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (const std::int32_t user : users(out[i])) {
      if (!is_view(user)) continue;
      const ValueId view = call(user).args.back();
      if (std::ranges::find(out, view) == out.end()) out.push_back(view);
    }
  }
  return out;
}

std::vector<std::int32_t> GraphIndex::readers(ValueId v) const {
  std::vector<std::int32_t> out;
  for (const ValueId view : views_of(v))
    std::ranges::copy_if(users(view), std::back_inserter(out),
                         [this](std::int32_t user) { return !is_view(user); });
  return out;
}

bool GraphIndex::only_read_by(ValueId v, std::int32_t reader) const {
  const std::vector<ValueId> views = views_of(v);
  if (std::ranges::any_of(views, [this](ValueId view) { return is_output(view); })) return false;
  return std::ranges::all_of(readers(v), [&](std::int32_t user) { return user == reader; });
}

}  // namespace etwebgpu
