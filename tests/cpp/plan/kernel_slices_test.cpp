// The parts of graphs in which kernels are tried.
#include "plan/kernel_slices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/kernel_features.h"
#include "kernels/kernel_source.h"
#include "support/compile.h"
#include "support/decoder_graph.h"
#include "support/devices.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

std::vector<KernelSlice> slices_of(const Graph& graph, const Capabilities& device,
                                   const ModelOptions& options = {}) {
  const auto model = compile(graph, device, options);
  const auto other = compile(graph, reference(device), options);
  return kernel_slices(*model, *other);
}

// As an executor compiles it.
std::unique_ptr<Model> compile_slice(const KernelSlice& slice, const Capabilities& device,
                                     ModelOptions options = {}) {
  options.fuse = false;
  auto model = Model::create(slice.graph, device, options, slice.surroundings());
  EXPECT_TRUE(model) << slice.call << ": " << model.error().message;
  return model ? *std::move(model) : nullptr;
}

Names kernels_of(const KernelSlice& slice, const Capabilities& device,
                 const ModelOptions& options = {}) {
  const auto model = compile_slice(slice, device, options);
  std::vector<HostInput> inputs;
  for (std::size_t i = 0; i < slice.sizes.size(); ++i)
    inputs.push_back(host_input(slice.sizes[i], slice.scalars[i]));
  const Plan* plan = plan_at(*model, inputs);
  Names out;
  for (std::size_t i = 0; plan != nullptr && i < plan->dispatches.size(); ++i)
    out.push_back(to_string(kernel(*model, *plan, i)));
  return out;
}

TEST(KernelSlices, EachGivesTheKernelsThatItIsFor) {
  constexpr DecoderShape kSmall{.layers = 2,
                                .width = 64,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_dim = 16,
                                .hidden = 128,
                                .vocabulary = 256,
                                .context = 256};
  const Graph graph = decoder_graph(kSmall);
  for (const Capabilities& device : {discrete_gpu(), software_adapter()}) {
    const std::vector<KernelSlice> slices = slices_of(graph, device);
    EXPECT_GT(slices.size(), 4u);
    for (const KernelSlice& slice : slices) {
      const Names own = kernels_of(slice, device), others = kernels_of(slice, reference(device));
      for (const KernelVariant& kernel : slice.kernels) {
        EXPECT_EQ(count(own, to_string(kernel)), 1) << slice.call;
        EXPECT_EQ(count(others, to_string(kernel)), 0) << slice.call;
      }
    }
  }
}

TEST(KernelSlices, KernelsForOneRowAndForManyComeOnceEach) {
  const std::vector<KernelSlice> slices = slices_of(decoder_graph(kSmolLm2), discrete_gpu());
  std::map<std::string, int> kernels;
  for (const KernelSlice& slice : slices)
    for (const KernelVariant& kernel : slice.kernels) ++kernels[kernel.name];
  EXPECT_GT(kernels["gemv"], 0);
  EXPECT_GT(kernels["attention_subgroups"], 0);
  std::map<std::string, int> texts;
  for (const KernelSlice& slice : slices)
    for (const KernelVariant& kernel : slice.kernels)
      EXPECT_EQ(++texts[to_string(kernel)], 1) << to_string(kernel);
}

TEST(KernelSlices, TheReferenceHasNone) {
  EXPECT_TRUE(slices_of(decoder_graph(kSmolLm2), reference(discrete_gpu())).empty());
}

// A permutation that an attention reads through is part of its slice: what is an input is what lies
// in memory.
TEST(KernelSlices, ViewsComeWithTheirReaders) {
  GraphBuilder b;
  const ValueId x = b.input({1, 64, 32});
  const ValueId y = b.view(x, {64, 32});
  b.output(b.linear(y, 48));
  const std::vector<KernelSlice> slices = slices_of(b.graph, discrete_gpu());
  ASSERT_FALSE(slices.empty());
  EXPECT_EQ(slices[0].graph.inputs, std::vector<ValueId>{x});
  EXPECT_EQ(slices[0].graph.calls.size(), 2u);
}

// What a call writes in place is compared, too.
TEST(KernelSlices, StatesAreOutputs) {
  GraphBuilder b;
  const ValueId q = b.input({1, 8, 4, 16}), k = b.input({1, 8, 2, 16}), v = b.input({1, 8, 2, 16});
  const ValueId position = b.scalar_input();
  const GraphBuilder::Cache cache = b.cache({1, 64, 2, 16});
  b.output(b.attend(q, k, v, cache, position));
  const std::vector<KernelSlice> slices = slices_of(b.graph, software_adapter());
  ASSERT_FALSE(slices.empty());
  for (const KernelSlice& slice : slices) {
    EXPECT_EQ(std::ranges::count(slice.graph.outputs, cache.k), 1);
    EXPECT_EQ(slice.states[static_cast<std::size_t>(cache.k)], 1);
  }
}

// A cache in f16 stays one where it is compared.
TEST(KernelSlices, ValuesAreStoredAsInTheModel) {
  GraphBuilder b;
  const ValueId q = b.input({1, 8, 4, 16}), k = b.input({1, 8, 2, 16}), v = b.input({1, 8, 2, 16});
  const ValueId position = b.scalar_input();
  const GraphBuilder::Cache cache = b.cache({1, 64, 2, 16});
  b.output(b.attend(q, k, v, cache, position));
  const ModelOptions half{.kv_cache = FloatType::F16};
  const std::vector<KernelSlice> slices = slices_of(b.graph, software_adapter(), half);
  ASSERT_FALSE(slices.empty());
  const auto model = compile_slice(slices[0], software_adapter(), half);
  EXPECT_EQ(model->storages()[static_cast<std::size_t>(cache.k)], Storage::HalfPairs);
}

}  // namespace
}  // namespace etwebgpu::testing
