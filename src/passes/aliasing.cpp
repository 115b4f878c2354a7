// View aliasing: the output of a view shares its input's memory instead of being copied.
#include <algorithm>

#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

bool same_words(const TensorInfo& a, const TensorInfo& b) {
  return a.dtype == b.dtype || (is_floating(a.dtype) && is_floating(b.dtype));
}

using Times = std::vector<std::int32_t>;  // numbers of calls, ascending

// When each value's contents are used, by ValueId. What a call writes in place it does not read:
// through a view, too, it means the buffer as it is by then (a prepacked KV cache).
struct Accesses {
  std::vector<Times> reads, writes;
};

Accesses find_accesses(const Graph& graph, std::span<const std::uint8_t> overwrites) {
  Accesses out{std::vector<Times>(graph.values.size()), std::vector<Times>(graph.values.size())};
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const Call& call = graph.calls[c];
    const Op* op = find_op(call.name);
    if (!op || call.args.empty()) continue;
    const auto note = [&](std::vector<Times>& times, ValueId v) {
      if (graph.tensor(v)) times[index(v)].push_back(static_cast<std::int32_t>(c));
    };
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) {
      note(holds(op->mutated_args, a) ? out.writes : out.reads, call.args[a]);
      if (const auto* list = std::get_if<ValueList>(&graph.value(call.args[a])))
        for (ValueId v : list->items) note(out.reads, v);
    }
    if (overwrites[c]) note(out.writes, call.args.back());
  }
  for (ValueId v : graph.outputs)
    if (graph.tensor(v))
      out.reads[index(v)].push_back(static_cast<std::int32_t>(graph.calls.size()));
  return out;
}

// Views and what they share. At first every view shares its source's memory that is not written
// over what was there before.
class Sharing {
 public:
  explicit Sharing(const Graph& graph) : source_(graph.values.size(), kNoValue) {
    const std::vector<std::uint8_t> overwrites = find_overwrites(graph);
    accesses_ = find_accesses(graph, overwrites);
    for (std::size_t v = 0; v < source_.size(); ++v) {
      root_.push_back(static_cast<ValueId>(v));
      if (!accesses_.writes[v].empty()) written_.push_back(static_cast<ValueId>(v));
    }
    for (std::size_t c = 0; c < graph.calls.size(); ++c) {
      const Call& call = graph.calls[c];
      const Op* op = find_op(call.name);
      if (!op || !op->is_view || call.args.size() < 2) continue;
      const ValueId source = call.args.front(), view = call.args.back();
      const TensorInfo *a = graph.tensor(source), *b = graph.tensor(view);
      if (!a || !b || !same_words(*a, *b) || overwrites[c] || root_[index(source)] == view)
        continue;
      views_.push_back({view, static_cast<std::int32_t>(c)});
      source_[index(view)] = source;
      root_[index(view)] = root_[index(source)];
    }
  }

  // Views whose readers would find what others wrote become copies, until there are none: a copy
  // takes its own views with it, and its writes away from the others.
  void separate() {
    for (bool changed = true; changed;) {
      changed = false;
      for (const View& view : views_) {
        if (source_[index(view.value)] == kNoValue || !shows_others_writes(view)) continue;
        source_[index(view.value)] = kNoValue;
        find_roots();
        changed = true;
      }
    }
  }

  ValueId root(ValueId v) const { return root_[index(v)]; }
  std::span<const ValueId> written() const { return written_; }

 private:
  struct View {
    ValueId value;
    std::int32_t call;
  };

  void find_roots() {
    for (const View& view : views_) {
      const ValueId source = source_[index(view.value)];
      root_[index(view.value)] = source == kNoValue ? view.value : root_[index(source)];
    }
  }

  bool is_part_of(ValueId v, ValueId view) const {
    while (v != view && source_[index(v)] != kNoValue) v = source_[index(v)];
    return v == view;
  }

  // True if some call reads the view after memory was written that the view was taken of, and not
  // through the view itself since.
  bool shows_others_writes(const View& view) const {
    const Times& reads = accesses_.reads[index(view.value)];
    Times own, others;
    for (const ValueId v : written_) {
      if (reads.empty() || root(v) != root(view.value)) continue;
      const Times& writes = accesses_.writes[index(v)];
      Times& side = is_part_of(v, view.value) ? own : others;
      side.insert(side.end(), writes.begin(), writes.end());
    }
    std::ranges::sort(own);
    return std::ranges::any_of(others, [&](std::int32_t write) {
      const auto rewrite = std::ranges::upper_bound(own, write);
      const auto shows_it = [&](std::int32_t read) {
        return read >= write && (rewrite == own.end() || read <= *rewrite);
      };
      return write > view.call && std::ranges::any_of(reads, shows_it);
    });
  }

  Accesses accesses_;
  std::vector<ValueId> written_;
  std::vector<View> views_;      // in the calls' order: sources before their views
  std::vector<ValueId> source_;  // by ValueId: what a view shares memory with
  std::vector<ValueId> root_;    // by ValueId: at the end of that chain
};

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
  Sharing sharing(graph);
  sharing.separate();
  Aliasing out;
  const std::size_t count = graph.values.size();
  for (std::size_t v = 0; v < count; ++v)
    out.storage.push_back(sharing.root(static_cast<ValueId>(v)));
  out.mutated.assign(count, 0);
  out.overwritten.assign(count, 0);
  for (const ValueId v : sharing.written()) {
    const std::size_t root = index(sharing.root(v));
    out.overwritten[root] = 1;
    out.mutated[root] = graph.tensor(sharing.root(v))->constant >= 0;
  }
  return out;
}

}  // namespace etwebgpu
