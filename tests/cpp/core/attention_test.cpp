// Which kernels attention is made of, without a GPU: the choice by adapter class and live sizes,
// what a position changes, and which caches may be f16.
#include <gtest/gtest.h>

#include "one_call.h"
#include "plan/model.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kHeads = 6, kKvHeads = 2, kDim = 16, kTokens = 32, kCapacity = 300;

// position, q, k, v (and cos, sin: then with a rotary embedding) -> attention over constant caches.
struct CachedAttention {
  explicit CachedAttention(bool rotary) {
    position = graph.inputs.emplace_back(graph.add(SymInt{}));
    const Dims q_sizes{1, kTokens, kHeads, kDim}, k_sizes{1, kTokens, kKvHeads, kDim};
    ValueId q = input(q_sizes), k = input(k_sizes);
    const ValueId v = input(k_sizes);
    if (rotary) {
      const ValueId cos = input({kTokens, kDim / 2}), sin = input({kTokens, kDim / 2});
      const ValueId rq = tensor(q_sizes), rk = tensor(k_sizes);
      const ValueId both = graph.add(ValueList{{rq, rk}});
      graph.calls.push_back({"et_vk.apply_rotary_emb.default", {q, k, cos, sin, both}});
      q = rq;
      k = rk;
    }
    for (ValueId* cache : {&k_cache, &v_cache}) {
      graph.constants.push_back({.key = "zeros", .length = kCapacity * kKvHeads * kDim * 4});
      *cache =
          graph.add(TensorInfo{.bound = {1, kCapacity, kKvHeads, kDim},
                               .constant = static_cast<std::int32_t>(graph.constants.size()) - 1});
    }
    const ValueId out = graph.outputs.emplace_back(tensor(q_sizes));
    graph.calls.push_back({"sdpa_with_kv_cache.default",
                           {q, k, v, k_cache, v_cache, position, graph.add(std::int64_t{1}),
                            graph.add(std::monostate{}), graph.add(0.0), graph.add(true),
                            graph.add(std::monostate{}), out}});
  }

  ValueId tensor(const Dims& sizes) { return graph.add(TensorInfo{.bound = sizes}); }
  ValueId input(const Dims& sizes) { return graph.inputs.emplace_back(tensor(sizes)); }

  Graph graph;
  ValueId position, k_cache, v_cache;
};

std::unique_ptr<Model> compile(Graph graph, AdapterClass adapter,
                               CacheType cache = CacheType::F32) {
  Capabilities capabilities;
  capabilities.adapter_class = adapter;
  ModelOptions options;
  options.kv_cache = cache;
  auto model = Model::create(std::move(graph), capabilities, options);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *std::move(model) : nullptr;
}

Result<const Plan*> plan_at(Model& model, std::int64_t position, std::int64_t tokens, bool rotary) {
  std::vector<HostInput> inputs = {host_scalar(position), host_input({1, tokens, kHeads, kDim}),
                                   host_input({1, tokens, kKvHeads, kDim}),
                                   host_input({1, tokens, kKvHeads, kDim})};
  if (rotary) {
    for (int i = 0; i < 2; ++i) inputs.push_back(host_input({tokens, kDim / 2}));
  }
  return model.prepare(inputs);
}

std::vector<std::string> kernels_of(const Model& model, const Plan& plan) {
  std::vector<std::string> out;
  for (const PlannedDispatch& d : plan.dispatches) out.push_back(model.kernels()[d.kernel].name);
  return out;
}

using Names = std::vector<std::string>;

TEST(Attention, KernelsFollowAdapterAndTokens) {
  const auto gpu = compile(CachedAttention(false).graph, AdapterClass::Discrete);
  const auto software = compile(CachedAttention(false).graph, AdapterClass::Software);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(kernels_of(*gpu, **plan_at(*gpu, 0, 1, false)),
            (Names{"cache_update", "attention_decode", "attention_merge"}));
  EXPECT_EQ(kernels_of(*gpu, **plan_at(*gpu, 0, kTokens, false)),
            (Names{"cache_update", "attention_tiles"}));
  EXPECT_EQ(kernels_of(*software, **plan_at(*software, 0, 1, false)),
            (Names{"cache_update", "attention_rows", "attention_merge"}));
  EXPECT_EQ(kernels_of(*software, **plan_at(*software, 0, kTokens, false)),
            (Names{"cache_update", "attention_rows"}));
}

TEST(Attention, TakesInTheRotaryEmbeddingBeforeIt) {
  const auto gpu = compile(CachedAttention(true).graph, AdapterClass::Discrete);
  const auto software = compile(CachedAttention(true).graph, AdapterClass::Software);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(kernels_of(*gpu, **plan_at(*gpu, 0, 1, true)),
            (Names{"attention_decode", "attention_merge"}));
  EXPECT_EQ(kernels_of(*gpu, **plan_at(*gpu, 0, kTokens, true)),
            (Names{"rotary_fresh", "attention_tiles"}));
  EXPECT_EQ(kernels_of(*software, **plan_at(*software, 0, 1, true)),
            (Names{"rotary_fresh", "attention_rows", "attention_merge"}));
}

TEST(Attention, APositionChangesNoPlan) {
  const auto model = compile(CachedAttention(true).graph, AdapterClass::Discrete);
  ASSERT_TRUE(model);
  const Plan* first = *plan_at(*model, 0, 1, true);
  const Plan* later = *plan_at(*model, kCapacity - 1, 1, true);
  EXPECT_EQ(first, later);
  // The workgroups along the context follow it instead: (position + 1) / 64, rounded up.
  const Grid& grid = first->dispatches[0].grid;
  EXPECT_EQ(grid.live, 0);
  EXPECT_EQ(grid.add, 1);
  EXPECT_EQ(grid.divide, 64);
}

TEST(Attention, RefusesAPositionPastTheCache) {
  const auto model = compile(CachedAttention(false).graph, AdapterClass::Software);
  ASSERT_TRUE(model);
  const auto plan = plan_at(*model, kCapacity - 3, 4, false);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("position 297 + 4 tokens pass the cache's 300"),
            std::string::npos)
      << plan.error().message;
  EXPECT_TRUE(plan_at(*model, kCapacity - 4, 4, false));
}

TEST(Attention, CachesAreHalvesOnlyWhereEveryCallCanReadThem) {
  const auto words = static_cast<std::uint64_t>(kCapacity * kKvHeads * kDim);
  const auto model = compile(CachedAttention(true).graph, AdapterClass::Discrete, CacheType::F16);
  ASSERT_TRUE(model);
  ASSERT_EQ(model->states().size(), 2u);
  for (const StateSpec& state : model->states()) EXPECT_EQ(state.bytes, words * 2);

  CachedAttention shown(false);
  shown.graph.outputs.push_back(shown.k_cache);
  const auto outside = compile(std::move(shown.graph), AdapterClass::Discrete, CacheType::F16);
  ASSERT_TRUE(outside);
  ASSERT_EQ(outside->states().size(), 2u);
  EXPECT_EQ(outside->states()[0].bytes, words * 4);
  EXPECT_EQ(outside->states()[1].bytes, words * 2);
}

TEST(Attention, GroupsAndHeadsMustDivide) {
  OneCall call("custom_sdpa.default");
  call.input({1, 4, 5, 8}).input({1, 16, 2, 8}).input({1, 16, 2, 8});
  call.arg(std::int64_t{0}).arg(std::monostate{}).arg(0.0).arg(true).arg(std::monostate{});
  call.output({1, 4, 5, 8});
  EXPECT_NE(call.load().find("5 query heads do not divide into 2 kv heads"), std::string::npos);
}

}  // namespace
}  // namespace etwebgpu::testing
