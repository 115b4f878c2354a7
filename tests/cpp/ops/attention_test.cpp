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
    attended = graph.outputs.emplace_back(tensor(q_sizes));
    graph.calls.push_back({"sdpa_with_kv_cache.default",
                           {q, k, v, k_cache, v_cache, position, graph.add(std::int64_t{1}),
                            graph.add(std::monostate{}), graph.add(0.0), graph.add(true),
                            graph.add(std::monostate{}), attended}});
  }

  // A linear layer on the attention's output, which takes its place.
  void project() {
    const std::int64_t width = kHeads * kDim;
    flat = tensor({1, kTokens, width});
    const ValueId sizes = graph.add(IntList{{1, kTokens, width}});
    graph.calls.push_back({"aten.view_copy.default", {attended, sizes, flat}});
    const ValueId out = graph.outputs[0] = tensor({1, kTokens, kColumns});
    const ValueId group = graph.add(std::int64_t{32}), bias = graph.add(std::monostate{});
    graph.calls.push_back({"et_vk.linear_q4gsw.default",
                           {flat, constant(DType::UInt8, {kColumns, width / 2}),
                            constant(DType::Float32, {width / 32, kColumns}), group, bias, out}});
  }

  ValueId constant(DType dtype, const Dims& sizes) {
    const auto bytes = static_cast<std::uint64_t>(sizes.numel()) * byte_size(dtype);
    graph.constants.push_back({.key = "weights", .length = bytes});
    return graph.add(TensorInfo{.dtype = dtype,
                                .bound = sizes,
                                .constant = static_cast<std::int32_t>(graph.constants.size()) - 1});
  }

  ValueId tensor(const Dims& sizes) { return graph.add(TensorInfo{.bound = sizes}); }
  ValueId input(const Dims& sizes) { return graph.inputs.emplace_back(tensor(sizes)); }

  Graph graph;
  ValueId position, k_cache, v_cache, attended, flat = kNoValue;
};

std::unique_ptr<Model> compile(Graph graph, const Capabilities& capabilities,
                               const ModelOptions& options) {
  auto model = Model::create(std::move(graph), capabilities, options);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *std::move(model) : nullptr;
}

std::unique_ptr<Model> compile(Graph graph, AdapterClass adapter,
                               FloatType cache = FloatType::F32) {
  Capabilities capabilities;
  capabilities.adapter_class = adapter;
  ModelOptions options;
  options.kv_cache = cache;
  return compile(std::move(graph), capabilities, options);
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

TEST(Attention, HeadsShareAWorkgroupWhereThereAreManyOfThem) {
  Capabilities capabilities;
  capabilities.subgroups = true;
  const auto model = compile(CachedAttention(true).graph, capabilities, {});
  ASSERT_TRUE(model);
  // Two key heads are few: each of their three heads has a workgroup of its own.
  EXPECT_EQ((**plan_at(*model, 0, 1, true)).dispatches[0].grid.x, 6u);
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
            (Names{"attention_lanes", "attention_merge"}));
  EXPECT_EQ(kernels_of(*software, **plan_at(*software, 0, kTokens, true)),
            (Names{"rotary_fresh", "attention_rows"}));
}

Names calls_of(const Graph& graph) {
  Names out;
  for (const Call& call : graph.calls) out.push_back(call.name);
  return out;
}

// The rotary tables as exporters cut them from whole ones: rows from `first_cos` and `first_sin`
// on.
void cut_tables(CachedAttention& a, ValueId first_cos, ValueId first_sin) {
  for (const auto& [argument, first] : {std::pair{2, first_cos}, std::pair{3, first_sin}}) {
    Call& rotary = a.graph.calls[0];
    const ValueId rows = rotary.args[static_cast<std::size_t>(argument)];
    std::get<TensorInfo>(a.graph.values[static_cast<std::size_t>(rows)]).bound[0] = kCapacity;
    const ValueId cut = a.tensor({kTokens, kDim / 2});
    rotary.args[static_cast<std::size_t>(argument)] = cut;
    const ValueId dim = a.graph.add(std::int64_t{0}), step = a.graph.add(std::int64_t{1});
    const ValueId end = a.graph.add(std::monostate{});
    a.graph.calls.push_back({"aten.slice_copy.Tensor", {rows, dim, first, end, step, cut}});
  }
  std::ranges::rotate(a.graph.calls, a.graph.calls.end() - 2);
}

TEST(Attention, TakesTheTablesOfTheRotaryEmbeddingWhole) {
  CachedAttention cut(true);
  cut_tables(cut, cut.position, cut.position);
  fuse_attention(cut.graph);
  EXPECT_EQ(calls_of(cut.graph), (Names{"fused.rope_sdpa"}));

  CachedAttention apart(true);
  cut_tables(apart, apart.position, apart.graph.add(SymInt{}));
  fuse_attention(apart.graph);
  EXPECT_EQ(std::ranges::count(calls_of(apart.graph), "aten.slice_copy.Tensor"), 2);
}

TEST(Attention, TakesInTheProjectionBehindIt) {
  CachedAttention projected(true);
  projected.project();
  const auto gpu = compile(projected.graph, AdapterClass::Discrete);
  const auto software = compile(projected.graph, AdapterClass::Software);
  ASSERT_TRUE(gpu && software);
  EXPECT_EQ(calls_of(gpu->graph()), (Names{"fused.rope_sdpa_q4gsw"}));
  EXPECT_EQ(kernels_of(*gpu, **plan_at(*gpu, 0, 1, true)),
            (Names{"attention_decode", "gemv"}));
  EXPECT_EQ(kernels_of(*gpu, **plan_at(*gpu, 0, kTokens, true)),
            (Names{"rotary_fresh", "attention_tiles", "gemm_tiles"}));
  EXPECT_EQ(kernels_of(*software, **plan_at(*software, 0, 1, true)),
            (Names{"attention_lanes", "gemv_lanes"}));
}

TEST(Attention, AProjectionStaysWhereMoreReadsTheAttention) {
  CachedAttention shown(true);
  shown.project();
  shown.graph.outputs.push_back(shown.flat);
  const auto model = compile(std::move(shown.graph), AdapterClass::Discrete);
  ASSERT_TRUE(model);
  const Names calls = calls_of(model->graph());
  EXPECT_EQ(std::ranges::count(calls, "fused.rope_sdpa"), 1);
  EXPECT_EQ(std::ranges::count(calls, "et_vk.linear_q4gsw.default"), 1);
}

TEST(Attention, AProjectionStaysWhereACallComesBetween) {
  CachedAttention apart(true);
  apart.project();
  const ValueId other = apart.input({1, 4});
  const ValueId out = apart.graph.outputs.emplace_back(apart.tensor({1, 4}));
  apart.graph.calls.insert(apart.graph.calls.end() - 1, {"aten.relu.default", {other, out}});
  fuse_attention(apart.graph);
  EXPECT_EQ(std::ranges::count(calls_of(apart.graph), "fused.rope_sdpa_q4gsw"), 0);
}

TEST(Attention, MatrixUnitsServeManyQueriesWhereF16IsAskedFor) {
  Capabilities capabilities;
  capabilities.subgroups = capabilities.f16 = true;
  capabilities.min_subgroup_size = capabilities.max_subgroup_size = 32;
  capabilities.matrix_size = 16;
  capabilities.max_workgroup_storage = 32768;
  for (const auto& [type, kernel] : {std::pair(FloatType::F16, "attention_matrices"),
                                     std::pair(FloatType::F32, "attention_tiles")}) {
    ModelOptions options;
    options.matmul = type;
    const auto model = compile(CachedAttention(true).graph, capabilities, options);
    ASSERT_TRUE(model);
    EXPECT_EQ(kernels_of(*model, **plan_at(*model, 0, kTokens, true)),
              (Names{"rotary_fresh", kernel}));
    EXPECT_EQ(kernels_of(*model, **plan_at(*model, 0, 1, true)),
              (Names{"attention_subgroups", "attention_merge"}));
  }
}

TEST(Attention, AWorkgroupTakesAsManyKeysAsItsInvocationsLoadAtOnce) {
  Capabilities capabilities;
  capabilities.subgroups = true;
  capabilities.min_subgroup_size = 32;
  for (const auto& [invocations, keys] : {std::pair(256u, 256), std::pair(1024u, 320)}) {
    capabilities.max_workgroup_invocations = capabilities.max_workgroup_size[0] = invocations;
    const auto model = compile(CachedAttention(true).graph, capabilities, {});
    ASSERT_TRUE(model);
    EXPECT_EQ((**plan_at(*model, 0, 1, true)).dispatches[0].grid.divide, keys);
  }
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
  const auto model = compile(CachedAttention(true).graph, AdapterClass::Discrete, FloatType::F16);
  ASSERT_TRUE(model);
  ASSERT_EQ(model->states().size(), 2u);
  for (const StateSpec& state : model->states()) EXPECT_EQ(state.bytes, words * 2);

  CachedAttention shown(false);
  shown.graph.outputs.push_back(shown.k_cache);
  const auto outside = compile(std::move(shown.graph), AdapterClass::Discrete, FloatType::F16);
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
