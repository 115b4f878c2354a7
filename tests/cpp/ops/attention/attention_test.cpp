// Which kernels attention is made of, without a GPU: the choice by adapter class and live sizes,
// what a position changes, and which caches may be f16.
#include <gtest/gtest.h>

#include "passes/passes.h"
#include "support/cached_attention.h"
#include "support/one_call.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kTokens = 32, kCapacity = 300, kColumns = 64;
constexpr Heads kHeads{.batch = 1, .count = 6, .kv = 2, .dim = 32};

CachedRows rows(GraphBuilder& b) { return cached_rows(b, kHeads, kTokens, kCapacity); }

// position, q, k, v (and cos, sin: then with a rotary embedding) -> attention over constant caches.
struct CachedAttention {
  explicit CachedAttention(bool rotary)
      : given(rows(b)), attended(attend(b, rotary ? rotated(b, given) : given)) {
    b.output(attended);
  }

  // A linear layer on the attention's output, which takes its place.
  void project() {
    flat = flatten_heads(b, attended);
    b.graph.outputs[0] = b.linear(flat, kColumns);
  }

  GraphBuilder b;
  CachedRows given;
  ValueId attended, flat = kNoValue;
};

std::unique_ptr<Model> compile_for(AdapterClass adapter, Graph graph,
                                   FloatType cache = FloatType::F32) {
  Capabilities capabilities;
  capabilities.adapter_class = adapter;
  return compile(std::move(graph), capabilities, {.kv_cache = cache});
}

Result<const Plan*> plan_at(Model& model, std::int64_t position, std::int64_t tokens, bool rotary) {
  const HostInput q = host_input({1, tokens, kHeads.count, kHeads.dim});
  const HostInput k = host_input({1, tokens, kHeads.kv, kHeads.dim});
  std::vector<HostInput> inputs = {host_scalar(position), q, k, k};
  if (rotary) inputs.resize(6, host_input({tokens, kHeads.dim / 2}));
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
  EXPECT_EQ(kernels_at(*gpu, kTokens, false),
            (Names{"cache_update", "attention_tiles", "attention_merge"}));
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
  EXPECT_EQ(kernels_at(*gpu, kTokens, true),
            (Names{"rotary_fresh", "attention_tiles", "attention_merge"}));
  EXPECT_EQ(kernels_at(*software, 1, true), (Names{"attention_lanes", "attention_merge"}));
  EXPECT_EQ(kernels_at(*software, kTokens, true), (Names{"rotary_fresh", "attention_rows"}));
}

TEST(Attention, TakesTheTablesOfTheRotaryEmbeddingWhole) {
  const auto names = [](bool same_row) {
    GraphBuilder b;
    const CachedRows r = rows(b);
    const ValueId cos = cut_table(b, r, r.position);
    const ValueId sin = cut_table(b, r, same_row ? r.position : b.scalar_input());
    b.output(attend(b, rotated(b, r, cos, sin)));
    fuse_attention(b.graph);
    return call_names(b.graph);
  };
  EXPECT_EQ(names(true), Names{"fused.rope_sdpa"});
  EXPECT_EQ(count(names(false), "aten.slice_copy.Tensor"), 2);
}

TEST(Attention, TakesInTheProjectionBehindIt) {
  CachedAttention projected(true);
  projected.project();
  const auto gpu = compile_for(AdapterClass::Discrete, projected.b.graph);
  const auto software = compile_for(AdapterClass::Software, projected.b.graph);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(call_names(gpu->graph()), Names{"fused.rope_sdpa_q4gsw"});
  EXPECT_EQ(kernels_at(*gpu, 1, true), (Names{"attention_decode", "gemv"}));
  EXPECT_EQ(kernels_at(*gpu, kTokens, true),
            (Names{"rotary_fresh", "attention_tiles", "attention_merge", "gemm_slices"}));
  EXPECT_EQ(kernels_at(*software, 1, true), (Names{"attention_lanes", "gemv_lanes"}));
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
    EXPECT_EQ(kernels_at(*model, kTokens, true),
              (Names{"rotary_fresh", kernel, "attention_merge"}));
    EXPECT_EQ(kernels_at(*model, 1, true), (Names{"attention_subgroups", "attention_merge"}));
  }
}

TEST(Attention, TilesSplitTheKeysWhereWorkgroupsAreFewAndKeysMany) {
  const auto last_kernel = [](const Heads& heads, std::int64_t tokens, std::int64_t capacity) {
    GraphBuilder b;
    b.output(attend(b, cached_rows(b, heads, tokens, capacity)));
    const auto model = compile_for(AdapterClass::Discrete, std::move(b.graph));
    const HostInput q = host_input({1, tokens, heads.count, heads.dim});
    const HostInput k = host_input({1, tokens, heads.kv, heads.dim});
    const auto plan = model->prepare(std::vector<HostInput>{host_scalar(0), q, k, k});
    return kernel_names(*model, **plan).back();
  };
  EXPECT_EQ(last_kernel({1, 8, 2, 64}, 40, 1024), "attention_merge");
  EXPECT_EQ(last_kernel({1, 8, 2, 64}, 40, 128), "attention_tiles");
  EXPECT_EQ(last_kernel({1, 32, 8, 64}, 900, 1024), "attention_tiles");
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
  const auto words = static_cast<std::uint64_t>(kCapacity * kHeads.kv * kHeads.dim);
  const auto model =
      compile_for(AdapterClass::Discrete, CachedAttention(true).b.graph, FloatType::F16);
  ASSERT_TRUE(model);
  ASSERT_EQ(model->states().size(), 2u);
  for (const StateSpec& state : model->states()) EXPECT_EQ(state.bytes, words * 2);

  CachedAttention shown(false);
  shown.b.output(shown.given.cache.k);
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
