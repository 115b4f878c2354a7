// A small plan for every rewrite of the graph, as text: first the program's calls, then dispatches
// with the calls that each covers. Where a rewrite is lost, its calls are dispatches of their own.
#include <gtest/gtest.h>

#include "support/cached_attention.h"
#include "support/devices.h"
#include "support/graph_builder.h"
#include "support/plan_text.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kTokens = 8, kDim = 64, kHidden = 128;
constexpr std::int64_t kCapacity = 64;
constexpr Heads kHeads{1, 4, 2, 32};
constexpr std::int64_t kPosition = 5;

// A graph's plan for a discrete GPU at its recorded sizes; scalars are kPosition.
void expect_fusion(const std::string& name, GraphBuilder& b) {
  std::vector<HostInput> inputs(b.graph.inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TensorInfo* info = b.graph.tensor(b.graph.inputs[i]);
    if (info) inputs[i].sizes = info->bound;
    inputs[i].scalar = kPosition;
  }
  const std::string program = program_text(b.graph);
  expect_golden("fusions/" + name, cat("program ", program, "\n",
                                       plan_text(std::move(b.graph), discrete_gpu(), {}, inputs)));
}

ValueId tokens(GraphBuilder& b) { return b.input({1, kTokens, kDim}); }

// --- fuse_linear.cpp ---

TEST(GoldenFusions, GateAndUpAreOneLayer) {
  GraphBuilder b;
  const ValueId x = tokens(b), silu = b.silu(b.linear(x, kHidden));
  b.output(b.multiply(silu, b.linear(x, kHidden)));
  expect_fusion("gate_and_up", b);
}

TEST(GoldenFusions, AGateOfOneSiluIsToo) {
  GraphBuilder b;
  const ValueId x = tokens(b), gate = b.linear(x, kHidden);
  const ValueId silu = b.call("aten.silu.default", {gate}, b.bound(gate));
  b.output(b.multiply(silu, b.linear(x, kHidden)));
  expect_fusion("gate_of_one_silu", b);
}

TEST(GoldenFusions, AResidualIsAddedByTheLayerBeforeIt) {
  GraphBuilder b;
  const ValueId x = tokens(b);
  b.output(b.add(x, b.linear(x, kDim)));
  expect_fusion("residual", b);
}

TEST(GoldenFusions, LayersOnOneInputAreOne) {
  GraphBuilder b;
  const ValueId x = tokens(b);
  for (const std::int64_t columns : {64, 32, 32}) b.output(b.linear(x, columns, true));
  expect_fusion("layers_on_one_input", b);
}

TEST(GoldenFusions, ANormIsComputedByTheLayerBehindIt) {
  GraphBuilder b;
  b.output(b.linear(b.rms_norm(tokens(b)), kHidden));
  expect_fusion("norm", b);
}

TEST(GoldenFusions, TheLastTokenIsReadWhereItLies) {
  GraphBuilder b;
  b.output(b.linear(b.token(tokens(b), -1), kHidden));
  expect_fusion("last_token", b);
}

TEST(GoldenFusions, WhatOnlyTheLastTokenNeedsIsComputedForItAlone) {
  GraphBuilder b;
  const ValueId x = tokens(b), down = b.add(x, b.linear(x, kDim));
  b.output(b.linear(b.token(down, -1), kHidden));
  expect_fusion("layers_for_the_last_token", b);
}

// --- fuse_epilogue.cpp ---

constexpr std::int64_t kSide = 8, kChannels = 16;

ValueId image(GraphBuilder& b) { return b.input({1, kChannels, kSide, kSide}); }

// To as many channels, of the same size.
ValueId convolution(GraphBuilder& b, ValueId x, std::int64_t groups = 1) {
  const ValueId one = b.ints({1, 1}), zero = b.ints({0, 0});
  return b.call("aten.convolution.default",
                {x, b.constant({kChannels, kChannels / groups, 3, 3}), b.constant({kChannels}), one,
                 one, one, b.flag(false), zero, b.number(groups)},
                b.bound(x));
}
ValueId relu(GraphBuilder& b, ValueId x) { return b.call("aten.relu.default", {x}, b.bound(x)); }
ValueId float_linear(GraphBuilder& b, ValueId x, std::int64_t columns, const Dims& out) {
  return b.call("aten.linear.default",
                {x, b.constant({columns, b.bound(x).back()}), b.constant({columns})}, out);
}

TEST(GoldenFusions, AConvolutionAddsAndBoundsItsResults) {
  GraphBuilder b;
  const ValueId x = image(b), first = relu(b, convolution(b, x));
  b.output(relu(b, b.add(convolution(b, first), x)));
  expect_fusion("convolutions_with_a_residual", b);
}

TEST(GoldenFusions, ADepthwiseConvolutionDoesToo) {
  GraphBuilder b;
  const ValueId x = image(b);
  const ValueId sum = b.add(x, convolution(b, x, kChannels));
  b.output(b.call("aten.hardtanh.default", {sum, b.number(0.0), b.number(6.0)}, b.bound(sum)));
  expect_fusion("depthwise_convolution_with_a_residual", b);
}

// One of 64 outputs reads it where it lies; of more over large images, it would be computed for
// each 64.
TEST(GoldenFusions, ADepthwiseConvolutionIsComputedByThePointwiseOneBehindIt) {
  for (const std::int64_t side : {kSide, std::int64_t{112}}) {
    GraphBuilder b;
    const ValueId one = b.ints({1, 1}), zero = b.ints({0, 0}), no = b.flag(false);
    const ValueId x = b.input({1, kChannels, side, side});
    const auto layer = [&](ValueId from, const Dims& weight, ValueId padding, std::int64_t groups) {
      return b.call("aten.convolution.default",
                    {from, b.constant(weight), b.constant({weight[0]}), one, padding, one, no, zero,
                     b.number(groups)},
                    {1, weight[0], side, side});
    };
    const ValueId depthwise = layer(x, {kChannels, 1, 3, 3}, one, kChannels);
    const ValueId bounded =
        b.call("aten.hardtanh.default", {depthwise, b.number(0.0), b.number(6.0)}, b.bound(x));
    const std::int64_t outputs = side == kSide ? kChannels : 130;
    const ValueId y = layer(bounded, {outputs, kChannels, 1, 1}, zero, 1);
    b.output(side == kSide ? b.add(y, x) : y);
    expect_fusion(side == kSide ? "depthwise_and_pointwise" : "depthwise_before_pointwise", b);
  }
}

TEST(GoldenFusions, OneOfTwoConvolutionsAddsTheOther) {
  GraphBuilder b;
  const ValueId x = image(b), other = image(b);
  b.output(relu(b, b.add(convolution(b, x), convolution(b, other))));
  expect_fusion("sum_of_convolutions", b);
}

TEST(GoldenFusions, ASiluOfTwoCallsIsAppliedByTheConvolution) {
  GraphBuilder b;
  b.output(b.silu(convolution(b, b.silu(convolution(b, image(b), kChannels)))));
  expect_fusion("convolutions_with_silu", b);
}

TEST(GoldenFusions, ASiluOfTwoCallsIsOneWithoutAProduct) {
  GraphBuilder b;
  b.output(b.silu(tokens(b)));
  expect_fusion("silu", b);
}

TEST(GoldenFusions, AFloatLayerAddsAResidualBehindAView) {
  GraphBuilder b;
  const ValueId x = tokens(b), flat = b.view(x, {kTokens, kDim});
  const ValueId y = float_linear(b, flat, kDim, {kTokens, kDim});
  b.output(b.add(b.view(y, {1, kTokens, kDim}), x));
  expect_fusion("residual_behind_a_view", b);
}

TEST(GoldenFusions, AFloatLayerAppliesTheActivationBehindIt) {
  GraphBuilder b;
  const ValueId y = float_linear(b, tokens(b), kHidden, {1, kTokens, kHidden});
  b.output(b.call("aten.gelu.default", {y, b.text("tanh")}, b.bound(y)));
  expect_fusion("layer_with_gelu", b);
}

TEST(GoldenFusions, AGroupedLayerAppliesTheActivationBehindIt) {
  GraphBuilder b;
  const ValueId y = b.linear(b.rms_norm(tokens(b)), kHidden, true);
  b.output(b.call("aten.leaky_relu.default", {y, b.number(0.1)}, b.bound(y)));
  expect_fusion("grouped_layer_with_an_activation", b);
}

// --- fuse_attention.cpp ---

CachedRows rows(GraphBuilder& b) { return cached_rows(b, kHeads, kTokens, kCapacity); }

TEST(GoldenFusions, ARotaryEmbeddingIsComputedByTheAttentionBehindIt) {
  GraphBuilder b;
  b.output(attend(b, rotated(b, rows(b))));
  expect_fusion("rotary", b);
}

TEST(GoldenFusions, ARotaryEmbeddingOfHalvesIsToo) {
  GraphBuilder b;
  b.output(attend(b, rotated_halves(b, rows(b))));
  expect_fusion("rotary_of_halves", b);
}

TEST(GoldenFusions, RotaryTablesAreTakenWholeInsteadOfCut) {
  GraphBuilder b;
  const CachedRows r = rows(b);
  const ValueId cos = cut_table(b, r, r.position), sin = cut_table(b, r, r.position);
  b.output(attend(b, rotated(b, r, cos, sin)));
  expect_fusion("rotary_tables", b);
}

TEST(GoldenFusions, AttentionAndItsProjectionAreOneCall) {
  GraphBuilder b;
  b.output(b.linear(flatten_heads(b, attend(b, rotated(b, rows(b)))), kDim));
  expect_fusion("projection", b);
}

TEST(GoldenFusions, TheProjectionBringsItsResidual) {
  GraphBuilder b;
  const ValueId x = tokens(b), attended = attend(b, rotated(b, rows(b)));
  b.output(b.add(x, b.linear(flatten_heads(b, attended), kDim, true)));
  expect_fusion("projection_with_residual", b);
}

// --- fuse_sdpa.cpp ---

ValueId permute(GraphBuilder& b, ValueId x, std::vector<std::int64_t> order) {
  Dims sizes;
  for (const std::int64_t d : order) sizes.push_back(b.bound(x)[static_cast<std::size_t>(d)]);
  return b.call("aten.permute_copy.default", {x, b.ints(std::move(order))}, sizes);
}

constexpr std::int64_t kEncoderHeads = 4, kHeadDim = kDim / kEncoderHeads;

// [1, heads, tokens, head dim] of a layer of x.
ValueId layer_heads(GraphBuilder& b, ValueId x) {
  const ValueId rows = b.linear(x, kDim);
  return permute(b, b.view(rows, {1, kTokens, kEncoderHeads, kHeadDim}), {0, 2, 1, 3});
}

ValueId joined_heads(GraphBuilder& b, ValueId attended) {
  return b.linear(b.view(permute(b, attended, {0, 2, 1, 3}), {1, kTokens, kDim}), kDim);
}

TEST(GoldenFusions, ASoftmaxBetweenProductsIsAnAttention) {
  GraphBuilder b;
  const ValueId x = tokens(b), mask = b.input({1, 1, 1, kTokens});
  const ValueId q = layer_heads(b, x), k = permute(b, layer_heads(b, x), {0, 1, 3, 2});
  const ValueId v = layer_heads(b, x);
  const Dims sizes{1, kEncoderHeads, kTokens, kTokens};
  const auto product = [&](ValueId y, ValueId z) {
    return b.call("aten.bmm.default", {y, z}, {kEncoderHeads, kTokens, b.bound(z)[2]});
  };
  const ValueId products = product(b.view(q, {kEncoderHeads, kTokens, kHeadDim}),
                                   b.view(k, {kEncoderHeads, kHeadDim, kTokens}));
  const ValueId scaled =
      b.call("aten.div.Tensor", {b.view(products, sizes), b.prepacked({})}, sizes);
  const ValueId weights =
      b.call("aten._softmax.default", {b.add(scaled, mask), b.number(-1), b.flag(false)}, sizes);
  const ValueId y = product(b.view(weights, {kEncoderHeads, kTokens, kTokens}),
                            b.view(v, {kEncoderHeads, kTokens, kHeadDim}));
  b.output(joined_heads(b, b.view(y, {1, kEncoderHeads, kTokens, kHeadDim})));
  expect_fusion("attention_of_products", b);
}

TEST(GoldenFusions, AnAttentionReadsHeadsWhereALayerLeftThem) {
  GraphBuilder b;
  const ValueId rows =
      b.view(b.linear(tokens(b), 3 * kDim), {1, kTokens, 3, kEncoderHeads, kHeadDim});
  const ValueId parts = permute(b, rows, {2, 0, 3, 1, 4});
  const Dims sizes{1, kEncoderHeads, kTokens, kHeadDim};
  const auto part = [&](int i) {
    return b.call("aten.select_copy.int", {parts, b.number(0), b.number(i)}, sizes);
  };
  const ValueId q = part(0), k = part(1), v = part(2);
  b.output(
      joined_heads(b, b.call("et_vk.sdpa.default", {q, k, v, b.none(), b.number(0.25)}, sizes)));
  expect_fusion("attention_of_parts", b);
}

TEST(GoldenFusions, DimensionsOfOneMoveWithoutACopy) {
  GraphBuilder b;
  const ValueId moved = permute(b, tokens(b), {1, 0, 2});
  b.output(permute(b, b.silu(moved), {1, 2, 0}));
  expect_fusion("permutation_of_ones", b);
}

// --- fold_dequantize.cpp ---

ValueId dequantized(GraphBuilder& b, ValueId weight, const Dims& block, const Dims& scales) {
  return b.call(
      "torchao.dequantize_affine.default",
      {weight, b.ints({block.begin(), block.end()}), b.prepacked(scales),
       b.constant(scales, DType::Int8), b.none(), b.number(-128), b.number(127), b.number(6)},
      b.bound(weight));
}

ValueId layer(GraphBuilder& b, ValueId x, ValueId weight) {
  return b.call("aten.linear.default", {x, weight, b.none()}, {kTokens, b.bound(weight)[0]});
}

TEST(GoldenFusions, LayersReadTheBytesOfDequantizedWeights) {
  GraphBuilder b;
  const ValueId x = b.input({kTokens, kDim}), weight = b.constant({kHidden, kDim}, DType::Int8);
  b.output(layer(b, x, dequantized(b, weight, {1, kDim}, {kHidden, 1})));
  b.output(layer(b, x, dequantized(b, weight, {1, 32}, {kHidden, kDim / 32})));
  const ValueId one_scale =
      b.call("quantized_decomposed.dequantize_per_tensor.default",
             {weight, b.number(0.1), b.number(0), b.none(), b.none(), b.none()}, {kHidden, kDim});
  b.output(layer(b, x, one_scale));
  expect_fusion("dequantized_layers", b);
}

TEST(GoldenFusions, EmbeddingsReadBytes) {
  GraphBuilder b;
  const ValueId weight = b.constant({kHidden, kDim}, DType::Int8);
  const ValueId table = dequantized(b, weight, {1, kDim / 2}, {kHidden, 2});
  const ValueId rows =
      b.call("aten.embedding.default",
             {table, b.input({kTokens}, DType::Int64), b.number(-1), b.flag(false), b.flag(false)},
             {kTokens, kDim});
  b.output(rows);
  b.output(layer(b, rows, table));
  expect_fusion("dequantized_table", b);
}

TEST(GoldenFusions, OtherDequantizedConstantsAreFloats) {
  GraphBuilder b;
  const ValueId x = b.input({kTokens, kDim}), weight = b.constant({kTokens, kDim}, DType::Int8);
  b.output(b.multiply(x, dequantized(b, weight, {1, kDim}, {kTokens, 1})));
  b.output(layer(b, x, dequantized(b, weight, {2, kDim}, {kTokens / 2, 1})));
  expect_fusion("dequantized_floats", b);
}

TEST(GoldenFusions, WhatIsWrittenIsDequantizedEachTime) {
  GraphBuilder b;
  const ValueId x = b.input({kTokens, kDim}, DType::Int8);
  const ValueId state = b.constant({kTokens, kDim}, DType::Int8);
  b.call("aten.add.Tensor", {x, state, b.number(1)}, state);
  b.output(dequantized(b, state, {1, kDim}, {kTokens, 1}));
  expect_fusion("dequantized_state", b);
}

// --- aliasing.cpp ---

TEST(GoldenFusions, ViewsShareMemory) {
  GraphBuilder b;
  const ValueId x = b.input({kTokens, kDim});
  const ValueId row = b.view(b.view(x, {kTokens * kDim}), {1, kTokens * kDim});
  b.output(b.view(b.silu(row), {kTokens, kDim}));
  expect_fusion("views", b);
}

TEST(GoldenFusions, AViewFromBeforeAWriteIsACopy) {
  GraphBuilder b;
  const ValueId state = b.constant({kDim}), x = b.input({kDim});
  const ValueId before = b.view(state, {1, kDim});
  b.output(b.call("aten.mul.Tensor", {x, x}, state));
  b.output(before);
  expect_fusion("view_before_a_write", b);
}

TEST(GoldenFusions, AViewFromBeforeAWriteIsACopyThoughItIsWrittenLater) {
  GraphBuilder b;
  const ValueId state = b.constant({kDim}), x = b.input({kDim});
  const ValueId before = b.view(state, {kDim});
  b.call("aten.mul.Tensor", {x, x}, state);
  b.output(b.call("aten.relu.default", {before}, Dims{kDim}));
  b.output(b.call("aten.add.Tensor", {x, x, b.number(1)}, before));
  expect_fusion("view_before_two_writes", b);
}

TEST(GoldenFusions, AViewFromBeforeAWriteThroughAnotherIsACopy) {
  GraphBuilder b;
  const ValueId state = b.constant({kDim}), x = b.input({kDim});
  const ValueId before = b.view(state, {kDim}), written = b.view(state, {kDim});
  b.call("aten.add.Tensor", {x, x, b.number(1)}, written);
  b.output(b.call("aten.relu.default", {before}, Dims{kDim}));
  expect_fusion("view_before_a_write_through_another", b);
}

TEST(GoldenFusions, AViewThatIsReadBeforeTheWriteAloneShares) {
  GraphBuilder b;
  const ValueId state = b.constant({kDim}), x = b.input({kDim});
  b.output(b.call("aten.relu.default", {b.view(state, {kDim})}, Dims{kDim}));
  b.call("aten.mul.Tensor", {x, x}, state);
  expect_fusion("view_read_before_a_write", b);
}

TEST(GoldenFusions, WritesThroughViewsReachTheirSource) {
  GraphBuilder b;
  const CachedRows r = rows(b);
  const Dims sizes = b.bound(r.cache.k);
  const ValueId one = b.view(r.cache.k, sizes), other = b.view(r.cache.k, sizes);
  b.call("update_cache.default", {r.k, one, r.position}, Dims{1});
  b.call("update_cache.default", {r.v, other, b.number(0)}, Dims{1});
  b.output(r.cache.k);
  expect_fusion("writes_through_views", b);
}

// --- dead_calls.cpp ---

TEST(GoldenFusions, CallsThatNobodyReadsAreNone) {
  GraphBuilder b;
  const ValueId x = tokens(b);
  b.rms_norm(b.add(x, x));
  b.output(b.multiply(x, x));
  expect_fusion("dead_calls", b);
}

TEST(GoldenFusions, CallsThatWriteABufferAreNotDead) {
  GraphBuilder b;
  const ValueId x = b.input({kDim}), state = b.constant({kDim});
  b.call("aten.add.Tensor", {x, x, b.number(1)}, state);
  b.output(b.multiply(x, x));
  expect_fusion("buffer_writes", b);
}

// --- planner.cpp ---

TEST(GoldenFusions, AWriteOverWhatIsReadIsRedirectedAndCopiedBack) {
  GraphBuilder b;
  const ValueId x = b.input({kDim}), state = b.constant({kDim});
  b.output(b.call("aten.add.Tensor", {state, x, b.number(1)}, state));
  expect_fusion("write_over_what_is_read", b);
}

TEST(GoldenFusions, SmallValuesOfTheSameDispatchesShareASlot) {
  GraphBuilder b;
  const ValueId x = b.input({1, 1, kDim}), q = b.linear(x, kDim), k = b.linear(x, kDim);
  b.output(b.multiply(q, k));
  expect_fusion("shared_slot", b);
}

}  // namespace
}  // namespace etwebgpu::testing
