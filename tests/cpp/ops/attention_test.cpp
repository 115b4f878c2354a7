// Which kernels attention is made of, without a GPU: the choice by adapter class and live sizes,
// what a position changes, and which caches may be f16.
#include <gtest/gtest.h>

#include <algorithm>

#include "passes/passes.h"
#include "plan/model.h"
#include "support/one_call.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kHeads = 6, kKvHeads = 2, kDim = 32, kTokens = 32, kCapacity = 300,
                       kColumns = 64;

// position, q, k, v (and cos, sin: then with a rotary embedding) -> attention over constant caches.
struct CachedAttention {
  explicit CachedAttention(bool rotary) : position(b.scalar_input()) {
    const Dims q_sizes{1, kTokens, kHeads, kDim}, k_sizes{1, kTokens, kKvHeads, kDim};
    ValueId q = b.input(q_sizes), k = b.input(k_sizes);
    const ValueId v = b.input(k_sizes);
    if (rotary) {
      const ValueId cos = b.input({kTokens, kDim / 2}), sin = b.input({kTokens, kDim / 2});
      const auto rotated = b.rotate(q, k, cos, sin);
      q = rotated.q;
      k = rotated.k;
    }
    cache = b.cache({1, kCapacity, kKvHeads, kDim});
    attended = b.attend(q, k, v, cache, position);
    b.output(attended);
  }

  // A linear layer on the attention's output, which takes its place.
  void project() {
    flat = b.view(attended, {1, kTokens, kHeads * kDim});
    b.graph.outputs[0] = b.linear(flat, kColumns);
  }

  GraphBuilder b;
  ValueId position, attended, flat = kNoValue;
  GraphBuilder::Cache cache;
};

std::unique_ptr<Model> compile_for(AdapterClass adapter, Graph graph,
                                   FloatType cache = FloatType::F32) {
  Capabilities capabilities;
  capabilities.adapter_class = adapter;
  return compile(std::move(graph), capabilities, {.kv_cache = cache});
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

Names kernels_at(Model& model, std::int64_t tokens, bool rotary) {
  return kernel_names(model, **plan_at(model, 0, tokens, rotary));
}

TEST(Attention, KernelsFollowAdapterAndTokens) {
  const auto gpu = compile_for(AdapterClass::Discrete, CachedAttention(false).b.graph);
  const auto software = compile_for(AdapterClass::Software, CachedAttention(false).b.graph);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(kernels_at(*gpu, 1, false),
            (Names{"cache_update", "attention_decode", "attention_merge"}));
  EXPECT_EQ(kernels_at(*gpu, kTokens, false), (Names{"cache_update", "attention_tiles"}));
  EXPECT_EQ(kernels_at(*software, 1, false),
            (Names{"cache_update", "attention_rows", "attention_merge"}));
  EXPECT_EQ(kernels_at(*software, kTokens, false), (Names{"cache_update", "attention_rows"}));
}

TEST(Attention, HeadsShareAWorkgroupWhereThereAreManyOfThem) {
  Capabilities capabilities;
  capabilities.subgroups = true;
  const auto model = compile(CachedAttention(true).b.graph, capabilities);
  ASSERT_TRUE(model);
  // Two key heads are few: each of their three heads has a workgroup of its own.
  EXPECT_EQ((**plan_at(*model, 0, 1, true)).dispatches[0].grid.x, 6u);
}

TEST(Attention, TakesInTheRotaryEmbeddingBeforeIt) {
  const auto gpu = compile_for(AdapterClass::Discrete, CachedAttention(true).b.graph);
  const auto software = compile_for(AdapterClass::Software, CachedAttention(true).b.graph);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(kernels_at(*gpu, 1, true), (Names{"attention_decode", "attention_merge"}));
  EXPECT_EQ(kernels_at(*gpu, kTokens, true), (Names{"rotary_fresh", "attention_tiles"}));
  EXPECT_EQ(kernels_at(*software, 1, true), (Names{"attention_lanes", "attention_merge"}));
  EXPECT_EQ(kernels_at(*software, kTokens, true), (Names{"rotary_fresh", "attention_rows"}));
}

// Rotary attention whose tables are cut from whole ones, as exporters do: rows from `first_cos` and
// `first_sin` on.
Graph with_cut_tables(GraphBuilder& b, ValueId first_cos, ValueId first_sin) {
  const auto cut = [&](ValueId first) {
    const ValueId whole = b.input({kCapacity, kDim / 2});
    return b.call("aten.slice_copy.Tensor", {whole, b.number(0), first, b.none(), b.number(1)},
                  {kTokens, kDim / 2});
  };
  const ValueId q = b.input({1, kTokens, kHeads, kDim}), k = b.input({1, kTokens, kKvHeads, kDim});
  const ValueId v = b.input({1, kTokens, kKvHeads, kDim});
  const ValueId cos = cut(first_cos), sin = cut(first_sin);
  const auto rotated = b.rotate(q, k, cos, sin);
  const auto cache = b.cache({1, kCapacity, kKvHeads, kDim});
  b.output(b.attend(rotated.q, rotated.k, v, cache, first_cos));
  return std::move(b.graph);
}

TEST(Attention, TakesTheTablesOfTheRotaryEmbeddingWhole) {
  GraphBuilder same, apart;
  const ValueId position = same.scalar_input();
  Graph graph = with_cut_tables(same, position, position);
  fuse_attention(graph);
  EXPECT_EQ(call_names(graph), Names{"fused.rope_sdpa"});

  const ValueId first_cos = apart.scalar_input(), first_sin = apart.scalar_input();
  graph = with_cut_tables(apart, first_cos, first_sin);
  fuse_attention(graph);
  EXPECT_EQ(count(call_names(graph), "aten.slice_copy.Tensor"), 2);
}

TEST(Attention, TakesInTheProjectionBehindIt) {
  CachedAttention projected(true);
  projected.project();
  const auto gpu = compile_for(AdapterClass::Discrete, projected.b.graph);
  const auto software = compile_for(AdapterClass::Software, projected.b.graph);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(call_names(gpu->graph()), Names{"fused.rope_sdpa_q4gsw"});
  EXPECT_EQ(kernels_at(*gpu, 1, true), (Names{"attention_decode", "linear_gemv"}));
  EXPECT_EQ(kernels_at(*gpu, kTokens, true),
            (Names{"rotary_fresh", "attention_tiles", "linear_gemm"}));
  EXPECT_EQ(kernels_at(*software, 1, true), (Names{"attention_lanes", "linear_row"}));
}

TEST(Attention, AProjectionStaysWhereMoreReadsTheAttention) {
  CachedAttention shown(true);
  shown.project();
  shown.b.output(shown.flat);
  const auto model = compile_for(AdapterClass::Discrete, std::move(shown.b.graph));
  ASSERT_TRUE(model);
  const Names calls = call_names(model->graph());
  EXPECT_EQ(count(calls, "fused.rope_sdpa"), 1);
  EXPECT_EQ(count(calls, "et_vk.linear_q4gsw.default"), 1);
}

TEST(Attention, AProjectionStaysWhereACallComesBetween) {
  CachedAttention apart(true);
  apart.b.output(apart.b.call("aten.relu.default", {apart.b.input({1, 4})}, Dims{1, 4}));
  apart.project();
  fuse_attention(apart.b.graph);
  EXPECT_EQ(count(call_names(apart.b.graph), "fused.rope_sdpa_q4gsw"), 0);
}

TEST(Attention, MatrixUnitsServeManyQueriesWhereF16IsAskedFor) {
  Capabilities capabilities;
  capabilities.subgroups = capabilities.f16 = true;
  capabilities.min_subgroup_size = capabilities.max_subgroup_size = 32;
  capabilities.matrix_size = 16;
  capabilities.max_workgroup_storage = 32768;
  for (const auto& [type, kernel] : {std::pair(FloatType::F16, "attention_matrices"),
                                     std::pair(FloatType::F32, "attention_tiles")}) {
    const auto model = compile(CachedAttention(true).b.graph, capabilities, {.matmul = type});
    ASSERT_TRUE(model);
    EXPECT_EQ(kernels_at(*model, kTokens, true), (Names{"rotary_fresh", kernel}));
    EXPECT_EQ(kernels_at(*model, 1, true), (Names{"attention_subgroups", "attention_merge"}));
  }
}

TEST(Attention, AWorkgroupTakesAsManyKeysAsItsInvocationsLoadAtOnce) {
  Capabilities capabilities;
  capabilities.subgroups = true;
  capabilities.min_subgroup_size = 32;
  for (const auto& [invocations, keys] : {std::pair(256u, 256), std::pair(1024u, 320)}) {
    capabilities.max_workgroup_invocations = capabilities.max_workgroup_size[0] = invocations;
    const auto model = compile(CachedAttention(true).b.graph, capabilities);
    ASSERT_TRUE(model);
    EXPECT_EQ((**plan_at(*model, 0, 1, true)).dispatches[0].grid.divide, keys);
  }
}

TEST(Attention, APositionChangesNoPlan) {
  const auto model = compile_for(AdapterClass::Discrete, CachedAttention(true).b.graph);
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
  const auto model = compile_for(AdapterClass::Software, CachedAttention(false).b.graph);
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
  const auto model =
      compile_for(AdapterClass::Discrete, CachedAttention(true).b.graph, FloatType::F16);
  ASSERT_TRUE(model);
  ASSERT_EQ(model->states().size(), 2u);
  for (const StateSpec& state : model->states()) EXPECT_EQ(state.bytes, words * 2);

  CachedAttention shown(false);
  shown.b.output(shown.cache.k);
  const auto outside =
      compile_for(AdapterClass::Discrete, std::move(shown.b.graph), FloatType::F16);
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
