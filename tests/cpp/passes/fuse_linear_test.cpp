#include <gtest/gtest.h>

#include <functional>

#include "ops/fused.h"
#include "passes/passes.h"
#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kDim = 64, kHidden = 128, kTokens = 16;

ValueId tokens(GraphBuilder& b) { return b.input({1, kTokens, kDim}); }

ValueId gated(GraphBuilder& b, ValueId x) {
  const ValueId activated = b.silu(b.linear(x, kHidden));
  return b.multiply(activated, b.linear(x, kHidden));
}

Names fused_names(GraphBuilder& b) {
  fuse_linear(b.graph);
  return call_names(b.graph);
}

TEST(FuseLinear, AGatedFeedForwardIsTwoCalls) {
  GraphBuilder b;
  const ValueId x = tokens(b);
  b.output(b.add(x, b.linear(gated(b, b.rms_norm(x)), kDim)));
  EXPECT_EQ(fused_names(b), (Names{"fused.linear_q4gsw", "fused.linear_q4gsw"}));
}

TEST(FuseLinear, AGateThatIsOneOperatorIsOneCall) {
  GraphBuilder b;
  const ValueId x = tokens(b), gate = b.linear(x, kHidden), up = b.linear(x, kHidden);
  b.output(b.call("et_vk.swiglu.default", {gate, up}, b.bound(gate)));
  EXPECT_EQ(fused_names(b), Names{"fused.linear_q4gsw"});
  const auto& weights = b.graph.value(b.graph.calls[0].args[fused_linear::kWeights]);
  EXPECT_EQ(std::get<ValueList>(weights).items.size(), 2u);
}

TEST(FuseLinear, AGateOverScalarsStays) {
  GraphBuilder b;
  b.output(gated(b, tokens(b)));
  for (Value& value : b.graph.values) {
    if (auto* info = std::get_if<TensorInfo>(&value); info && info->constant < 0) info->bound = {};
  }
  EXPECT_EQ(fused_names(b),
            (Names{"fused.linear_q4gsw", "et_vk.linear_q4gsw.default", "aten.mul.Tensor"}));
}

TEST(FuseLinear, SiblingsShareOneCallWithTheirNorm) {
  GraphBuilder b;
  const ValueId normed = b.rms_norm(tokens(b));
  for (std::int64_t width : {64, 32, 32}) b.output(b.linear(normed, width));
  EXPECT_EQ(fused_names(b), Names{"fused.linear_q4gsw"});
  EXPECT_EQ(std::get<ValueList>(b.graph.value(b.graph.calls[0].args.back())).items,
            b.graph.outputs);
}

TEST(FuseLinear, LogitsTakeTheLastTokenWhereItLies) {
  const auto head = [](GraphBuilder& b, std::int64_t index) {
    const ValueId row = b.token(tokens(b), index);
    b.output(b.linear(b.rms_norm(row), kHidden));
    return row;
  };
  GraphBuilder last, first, shown;
  head(last, -1);
  EXPECT_EQ(fused_names(last), Names{"fused.linear_q4gsw"});
  EXPECT_EQ(last.graph.calls[0].args[0], last.graph.inputs[0]);
  head(first, 0);
  EXPECT_EQ(count(fused_names(first), "aten.select_copy.int"), 1);
  shown.output(head(shown, -1));
  EXPECT_EQ(count(fused_names(shown), "aten.select_copy.int"), 1);
}

// A feed-forward over x, and the logits of its last token. `more` sees what it computes for all.
Graph last_layer(const std::function<void(GraphBuilder&, ValueId x, ValueId down)>& more) {
  GraphBuilder b;
  const ValueId x = b.linear(tokens(b), kDim);
  const ValueId down = b.add(x, b.linear(gated(b, b.rms_norm(x)), kDim));
  more(b, x, down);
  b.output(b.linear(b.token(down, -1), kHidden));
  fuse_linear(b.graph);
  return std::move(b.graph);
}

// By call: 1 if it takes the last row alone.
std::vector<int> narrowed(const Graph& graph) {
  std::vector<int> out;
  for (const Call& c : graph.calls) {
    out.push_back(c.name == "fused.linear_q4gsw" &&
                  std::get<bool>(graph.value(c.args[fused_linear::kLast])));
  }
  return out;
}

TEST(FuseLinear, WhatOnlyTheLastTokenNeedsIsComputedForIt) {
  const Graph graph = last_layer([](GraphBuilder&, ValueId, ValueId) {});
  // The first is no fused layer: gate and up read its last row, as the sum behind them does.
  EXPECT_EQ(narrowed(graph), (std::vector<int>{0, 1, 1, 1}));
  for (std::size_t c = 1; c < 3; ++c) {
    const ValueId out = std::get<ValueList>(graph.value(graph.calls[c].args.back())).items[0];
    EXPECT_EQ(graph.tensor(out)->bound[1], 1);
  }
}

TEST(FuseLinear, WhatIsReadForAllTokensIsComputedForAll) {
  const Graph shown = last_layer([](GraphBuilder& b, ValueId, ValueId down) { b.output(down); });
  EXPECT_EQ(narrowed(shown), (std::vector<int>{0, 0, 0, 1}));
  const Graph read = last_layer(
      [](GraphBuilder& b, ValueId x, ValueId down) { b.output(b.add(x, b.rms_norm(down))); });
  EXPECT_EQ(narrowed(read), (std::vector<int>{0, 0, 0, 0, 0, 1}));
}

TEST(FuseLinear, ANormWithAnotherReaderStays) {
  GraphBuilder b;
  const ValueId normed = b.rms_norm(tokens(b));
  b.output(b.linear(normed, kDim));
  b.output(normed);
  EXPECT_EQ(fused_names(b), (Names{"et_vk.rms_norm.default", "et_vk.linear_q4gsw.default"}));
}

TEST(FuseLinear, AGateThatIsAlsoAnOutputStays) {
  GraphBuilder b;
  const ValueId x = tokens(b), gate = b.linear(x, kHidden), activated = b.silu(gate);
  b.output(b.multiply(activated, b.linear(x, kHidden)));
  b.output(gate);
  const Names names = fused_names(b);
  EXPECT_EQ(count(names, "aten.mul.Tensor"), 1);
  EXPECT_EQ(count(names, "fused.times_sigmoid"), 1);
}

TEST(FuseLinear, AScaledOrBroadcastSumStays) {
  GraphBuilder b;
  const ValueId x = tokens(b), row = b.input({1, 1, kDim});
  b.output(b.call("aten.add.Tensor", {row, b.linear(x, kDim), b.number(1)}, b.bound(x)));
  b.output(b.call("aten.add.Tensor", {x, b.linear(x, kDim), b.number(2)}, b.bound(x)));
  EXPECT_EQ(count(fused_names(b), "aten.add.Tensor"), 2);
}

TEST(FuseLinear, TheSameLinearOnBothSidesOfASumStays) {
  GraphBuilder b;
  const ValueId y = b.linear(tokens(b), kDim);
  b.output(b.add(y, y));
  EXPECT_EQ(count(fused_names(b), "aten.add.Tensor"), 1);
}

}  // namespace
}  // namespace etwebgpu::testing
