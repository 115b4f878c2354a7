// View aliasing: the output of a view shares its input's memory instead of being copied.
#include <algorithm>

#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

bool same_words(const TensorInfo& a, const TensorInfo& b) {
  return a.dtype == b.dtype || (is_floating(a.dtype) && is_floating(b.dtype));
}

// Index of the last call that writes into each value in place, or -1.
std::vector<std::int32_t> last_writes(const Graph& graph) {
  std::vector<std::int32_t> last(graph.values.size(), -1);
  const std::vector<std::uint8_t> overwrites = find_overwrites(graph);
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const Call& call = graph.calls[c];
    const Op* op = find_op(call.name);
    if (!op) continue;
    auto mark = [&](ValueId v) {
      last[static_cast<std::size_t>(v)] = static_cast<std::int32_t>(c);
    };
    for (std::size_t i = 0; i < call.args.size() && i < 32; ++i) {
      if (op->mutated_args >> i & 1) mark(call.args[i]);
    }
    if (overwrites[c]) mark(call.args.back());
  }
  return last;
}

}  // namespace

std::vector<std::uint8_t> find_overwrites(const Graph& graph) {
  std::vector<std::uint8_t> exists(graph.values.size(), 0);
  for (std::size_t v = 0; v < exists.size(); ++v) {
    const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
    exists[v] = info && info->constant >= 0;
  }
  for (ValueId v : graph.inputs) exists[static_cast<std::size_t>(v)] = 1;
  std::vector<std::uint8_t> out(graph.calls.size(), 0);
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    if (graph.calls[c].args.empty()) continue;
    const ValueId result = graph.calls[c].args.back();
    if (!graph.tensor(result)) continue;
    out[c] = exists[static_cast<std::size_t>(result)];
    exists[static_cast<std::size_t>(result)] = 1;
  }
  return out;
}

Aliasing find_aliases(const Graph& graph) {
  Aliasing out;
  out.storage.resize(graph.values.size());
  for (std::size_t v = 0; v < out.storage.size(); ++v) out.storage[v] = static_cast<ValueId>(v);
  std::vector<std::int32_t> written = last_writes(graph);

  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const Call& call = graph.calls[c];
    const Op* op = find_op(call.name);
    if (!op || !op->is_view || call.args.size() < 2) continue;
    const ValueId source = call.args.front(), view = call.args.back();
    const TensorInfo *a = graph.tensor(source), *b = graph.tensor(view);
    if (!a || !b || !same_words(*a, *b) || b->constant >= 0) continue;
    const ValueId root = out.storage[static_cast<std::size_t>(source)];
    std::int32_t& root_write = written[static_cast<std::size_t>(root)];
    const std::int32_t view_write = written[static_cast<std::size_t>(view)];
    // A view taken before its source is overwritten must keep the old contents: it stays a copy,
    // unless the writing happens through the view itself (a prepacked KV cache).
    if (root_write > static_cast<std::int32_t>(c) && view_write < 0) continue;
    out.storage[static_cast<std::size_t>(view)] = root;
    root_write = std::max(root_write, view_write);
  }

  out.mutated.assign(graph.values.size(), 0);
  out.overwritten.assign(graph.values.size(), 0);
  for (std::size_t v = 0; v < written.size(); ++v) {
    const auto root = static_cast<std::size_t>(out.storage[v]);
    const TensorInfo* info = graph.tensor(out.storage[v]);
    if (written[v] < 0 || !info) continue;
    out.overwritten[root] = 1;
    if (info->constant >= 0) out.mutated[root] = 1;
  }
  return out;
}

}  // namespace etwebgpu
