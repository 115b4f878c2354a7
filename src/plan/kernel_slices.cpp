#include "plan/kernel_slices.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "kernels/kernel_source.h"

namespace etwebgpu {
namespace {

std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

// --- The part of a graph around one call ---

class Slicer {
 public:
  explicit Slicer(const Model& model)
      : graph_(model.graph()), aliasing_(model.aliasing()), is_kept_(graph_.values.size(), 0) {
    view_.assign(graph_.values.size(), -1);
    for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
      const Call& call = graph_.calls[c];
      if (!find_op(call.name)->is_view || call.args.size() < 2) continue;
      const ValueId source = call.args.front(), view = call.args.back();
      if (graph_.tensor(source) && source != view && root(source) == root(view))
        view_[index(view)] = static_cast<std::int32_t>(c);
    }
  }

  // Nothing where the call leaves nothing to compare.
  std::optional<Graph> around(std::size_t c) {
    std::ranges::fill(is_kept_, std::uint8_t{0});
    calls_ = {c};
    out_ = {};
    out_.version = graph_.version;
    out_.constants = graph_.constants;
    const Call& call = graph_.calls[c];
    const Op& op = *find_op(call.name);
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) {
      read(call.args[a]);
      if (holds(op.mutated_args, a)) write(call.args[a]);
    }
    write(call.args.back());
    if (out_.outputs.empty()) return std::nullopt;
    for (const std::size_t kept : calls_) out_.calls.push_back(graph_.calls[kept]);
    for (std::size_t v = 0; v < graph_.values.size(); ++v)
      out_.values.push_back(is_kept_[v] ? graph_.values[v] : Value());
    return std::move(out_);
  }

 private:
  ValueId root(ValueId v) const { return aliasing_.storage[index(v)]; }

  void read(ValueId v) {
    if (std::exchange(is_kept_[index(v)], 1)) return;
    if (const auto* list = std::get_if<ValueList>(&graph_.value(v))) {
      for (const ValueId item : list->items) read(item);
    } else if (graph_.is_symint(v)) {
      out_.inputs.push_back(v);
    } else if (const TensorInfo* info = graph_.tensor(v); info && info->constant < 0) {
      read_activation(v);
    }
  }

  // Views are read where they were taken: kernels may follow their strides.
  void read_activation(ValueId v) {
    const std::int32_t view = view_[index(v)];
    if (view < 0) {
      out_.inputs.push_back(v);
      return;
    }
    calls_.insert(static_cast<std::size_t>(view));
    const Call& call = graph_.calls[static_cast<std::size_t>(view)];
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) read(call.args[a]);
  }

  void write(ValueId v) {
    is_kept_[index(v)] = 1;
    if (const auto* list = std::get_if<ValueList>(&graph_.value(v))) {
      for (const ValueId item : list->items) write(item);
    } else if (graph_.tensor(v)) {
      // What is written in place through a view, a prepacked cache say, needs the view.
      const std::int32_t view = view_[index(v)];
      if (view >= 0 && !calls_.contains(static_cast<std::size_t>(view))) read_activation(v);
      if (std::ranges::find(out_.outputs, v) == out_.outputs.end()) out_.outputs.push_back(v);
    }
  }

  const Graph& graph_;
  const Aliasing& aliasing_;
  std::vector<std::int32_t> view_;  // by ValueId: the call that makes a view that shares memory
  std::vector<std::uint8_t> is_kept_;
  std::set<std::size_t> calls_;
  Graph out_;
};

// --- Inputs to plan for ---

using Sizes = std::vector<Dims>;  // by input of the graph

// Inputs of these sizes; every number that the host has to know is `number`.
class Probe {
 public:
  Probe(const Model& model, const Sizes& sizes, std::int64_t number) {
    const Graph& graph = model.graph();
    for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
      const bool is_read = graph.tensor(graph.inputs[i]) && model.wants_host_data(i);
      const auto count = is_read ? static_cast<std::size_t>(sizes[i].numel()) : 0;
      elements_.emplace_back(count, number);
    }
    for (std::size_t i = 0; i < graph.inputs.size(); ++i)
      inputs_.push_back({.sizes = sizes[i], .elements = elements_[i], .scalar = number});
  }
  std::span<const HostInput> inputs() const { return inputs_; }

 private:
  std::vector<std::vector<std::int64_t>> elements_;
  std::vector<HostInput> inputs_;
};

Sizes recorded_sizes(const Graph& graph) {
  Sizes out;
  for (const ValueId v : graph.inputs)
    out.push_back(graph.tensor(v) ? graph.tensor(v)->bound : Dims());
  return out;
}

// The graph does not say which dimensions are dynamic: those of one extent are made smaller
// together, and sizes that do not fit the others are refused when they are inferred.
std::vector<Sizes> sizes_to_try(const Graph& graph) {
  constexpr std::int64_t kRows[] = {1, 67};  // a step of a decode, and no multiple of any tile
  constexpr std::size_t kMostExtents = 4;
  const Sizes all = recorded_sizes(graph);
  std::set<std::int64_t, std::greater<>> extents;
  for (const Dims& sizes : all) extents.insert(sizes.begin(), sizes.end());
  std::vector<Sizes> out;
  for (const std::int64_t rows : kRows) {
    std::size_t tried = 0;
    for (const std::int64_t extent : extents) {
      if (extent <= rows || tried++ == kMostExtents) break;
      Sizes& smaller = out.emplace_back(all);
      for (Dims& sizes : smaller)
        for (std::size_t d = 0; d < sizes.rank(); ++d)
          if (sizes[d] == extent) sizes[d] = rows;
    }
  }
  out.push_back(all);
  return out;
}

// --- Kernels ---

std::string kernel_text(const Model& model, const PlannedDispatch& dispatch) {
  return to_string(model.kernels()[dispatch.kernel]);
}

class Collector {
 public:
  Collector(Model& model, Model& other) : model_(model), other_(other), slicer_(model) {}

  std::vector<KernelSlice> run() {
    for (const Sizes& sizes : sizes_to_try(model_.graph())) plan_for(sizes);
    return std::move(slices_);
  }

 private:
  // A position of some tokens, where there are so many; a cache may have room for none.
  void plan_for(const Sizes& sizes) {
    for (const std::int64_t number : {37, 5, 1, 0}) {
      const Probe probe(model_, sizes, number);
      const auto plan = model_.prepare(probe.inputs());
      const auto other = other_.prepare(probe.inputs());
      if (!plan || !other) continue;
      collect(**plan, **other);
      return;
    }
  }

  void collect(const Plan& plan, const Plan& other) {
    std::set<std::string> common;
    for (const PlannedDispatch& dispatch : other.dispatches)
      common.insert(kernel_text(other_, dispatch));
    for (const PlannedDispatch& dispatch : plan.dispatches) {
      const std::string text = kernel_text(model_, dispatch);
      if (common.contains(text) || known_.contains(text)) continue;
      if (auto graph = slicer_.around(dispatch.call))
        add(*std::move(graph), plan, dispatch.call, common);
    }
  }

  void add(Graph graph, const Plan& plan, std::uint32_t call, const std::set<std::string>& common) {
    KernelSlice slice{.graph = std::move(graph),
                      .call = cat("call ", call, " ", model_.graph().calls[call].name),
                      .states = model_.aliasing().mutated,
                      .storages = {model_.storages().begin(), model_.storages().end()}};
    for (const ValueId v : slice.graph.inputs) {
      slice.sizes.push_back(model_.live().sizes[index(v)]);
      slice.scalars.push_back(model_.live().scalars[index(v)]);
    }
    for (const PlannedDispatch& dispatch : plan.dispatches) {
      const std::string text = kernel_text(model_, dispatch);
      if (dispatch.call != call || common.contains(text)) continue;
      known_.insert(text);
      const KernelVariant& kernel = model_.kernels()[dispatch.kernel];
      if (std::ranges::find(slice.kernels, kernel) == slice.kernels.end())
        slice.kernels.push_back(kernel);
    }
    slices_.push_back(std::move(slice));
  }

  Model& model_;
  Model& other_;
  Slicer slicer_;
  std::set<std::string> known_;
  std::vector<KernelSlice> slices_;
};

}  // namespace

std::vector<KernelSlice> kernel_slices(Model& model, Model& other) {
  return Collector(model, other).run();
}

}  // namespace etwebgpu
