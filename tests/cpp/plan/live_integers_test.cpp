// Graphs of every operator with a SymInt where they have an integer.
#include <gtest/gtest.h>

#include "support/compile.h"
#include "support/graph_builder.h"
#include "support/kernel_corpus.h"

namespace etwebgpu::testing {
namespace {

// An integer argument of a call, by position.
struct Place {
  std::size_t call, arg;
  std::int64_t value;
};

std::vector<Place> integers_of(const Graph& graph) {
  std::vector<Place> out;
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const auto& args = graph.calls[c].args;
    for (std::size_t a = 0; a + 1 < args.size(); ++a)
      if (const auto* value = std::get_if<std::int64_t>(&graph.value(args[a])))
        out.push_back({c, a, *value});
  }
  return out;
}

Graph with_scalar(Graph graph, const Place& place) {
  const ValueId scalar = graph.add(SymInt{});
  graph.inputs.push_back(scalar);
  graph.calls[place.call].args[place.arg] = scalar;
  return graph;
}

// All inputs at their bounds; what the host reads of them is zeros.
Result<const Plan*> plan_with(Model& model, std::int64_t scalar) {
  std::vector<HostInput> inputs;
  std::vector<std::vector<std::int64_t>> elements(model.graph().inputs.size());
  for (std::size_t i = 0; i < model.graph().inputs.size(); ++i) {
    const TensorInfo* info = model.graph().tensor(model.graph().inputs[i]);
    if (info && model.wants_host_data(i))
      elements[i].resize(static_cast<std::size_t>(info->bound.numel()));
    inputs.push_back(host_input(info ? info->bound : Dims(), 0, elements[i]));
  }
  inputs.back().scalar = scalar;
  return model.prepare(inputs);
}

// Either a sentence at load says why there has to be a number, or a call with that number has a
// plan; others have one, too, or an error.
TEST(LiveIntegers, MayStandForAnyInteger) {
  std::size_t live = 0, refused = 0;
  for (const NamedGraph& named : corpus_graphs()) {
    for (const Place& place : integers_of(named.graph)) {
      const std::string where =
          cat(named.name, ": argument ", place.arg, " of ", named.graph.calls[place.call].name);
      auto model = Model::create(with_scalar(named.graph, place), {}, {});
      if (!model) {
        EXPECT_NE(model.error().message.find("is a SymInt, whose value is not known at load"),
                  std::string::npos)
            << where << ": " << model.error().message;
        ++refused;
        continue;
      }
      ++live;
      for (const std::int64_t other : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{7},
                                       std::int64_t{1} << 31, INT64_MIN, INT64_MAX})
        static_cast<void>(plan_with(**model, other));
      const auto plan = plan_with(**model, place.value);
      EXPECT_TRUE(plan) << where << ": " << plan.error().message;
    }
  }
  EXPECT_GT(live, 100u);
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace etwebgpu::testing
