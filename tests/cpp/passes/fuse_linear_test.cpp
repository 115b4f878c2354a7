#include <gtest/gtest.h>

#include <functional>

#include "ops/fused.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

constexpr std::int64_t kDim = 64, kHidden = 128, kGroup = 32, kTokens = 16;

// Builds graphs call by call, as an exporter would write them.
class Decoder {
 public:
  Graph graph;

  ValueId tensor(Dims sizes) { return graph.add(TensorInfo{.bound = sizes}); }
  ValueId constant(DType dtype, Dims sizes) {
    graph.constants.push_back({.key = "k", .length = 1});
    return graph.add(TensorInfo{.dtype = dtype,
                                .bound = sizes,
                                .constant = static_cast<std::int32_t>(graph.constants.size()) - 1});
  }
  ValueId activation(std::int64_t width) { return tensor({1, kTokens, width}); }
  ValueId input(std::int64_t width) { return graph.inputs.emplace_back(activation(width)); }
  void output(ValueId v) { graph.outputs.push_back(v); }

  ValueId call(std::string name, std::vector<ValueId> args, ValueId out) {
    args.push_back(out);
    graph.calls.push_back({std::move(name), std::move(args)});
    return out;
  }
  ValueId norm(ValueId x) {
    return call("et_vk.rms_norm.default", {x, constant(DType::Float32, {kDim}), graph.add(1e-5)},
                activation(kDim));
  }
  ValueId linear(ValueId x, std::int64_t width) {
    const std::int64_t depth = graph.tensor(x)->bound.back();
    return call("et_vk.linear_q4gsw.default",
                {x, constant(DType::UInt8, {width, depth / 2}),
                 constant(DType::Float32, {depth / kGroup, width}), graph.add(kGroup),
                 graph.add(std::monostate{})},
                activation(width));
  }
  ValueId multiply(ValueId a, ValueId b) {
    return call("aten.mul.Tensor", {a, b}, activation(graph.tensor(a)->bound.back()));
  }
  ValueId silu(ValueId x) {
    return multiply(x,
                    call("aten.sigmoid.default", {x}, activation(graph.tensor(x)->bound.back())));
  }
  ValueId add(ValueId a, ValueId b) {
    return call("aten.add.Tensor", {a, b, graph.add(std::int64_t{1})},
                activation(graph.tensor(a)->bound.back()));
  }

  std::vector<std::string> fused_names() {
    fuse_linear(graph);
    std::vector<std::string> names;
    for (const Call& c : graph.calls) names.push_back(c.name);
    return names;
  }
};

TEST(FuseLinear, AGatedFeedForwardIsTwoCalls) {
  Decoder d;
  const ValueId x = d.input(kDim), normed = d.norm(x);
  const ValueId hidden = d.multiply(d.silu(d.linear(normed, kHidden)), d.linear(normed, kHidden));
  d.output(d.add(x, d.linear(hidden, kDim)));
  EXPECT_EQ(d.fused_names(),
            (std::vector<std::string>{"fused.linear_q4gsw", "fused.linear_q4gsw"}));
}

TEST(FuseLinear, AGateOverScalarsStays) {
  Decoder d;
  const ValueId x = d.input(kDim);
  d.output(d.multiply(d.silu(d.linear(x, kHidden)), d.linear(x, kHidden)));
  for (Value& value : d.graph.values) {
    if (auto* info = std::get_if<TensorInfo>(&value); info && info->constant < 0) info->bound = {};
  }
  EXPECT_EQ(d.fused_names(), (std::vector<std::string>{"fused.linear_q4gsw", "aten.sigmoid.default",
                                                       "aten.mul.Tensor", "aten.mul.Tensor"}));
}

TEST(FuseLinear, SiblingsShareOneCallWithTheirNorm) {
  Decoder d;
  const ValueId normed = d.norm(d.input(kDim));
  for (std::int64_t width : {64, 32, 32}) d.output(d.linear(normed, width));
  EXPECT_EQ(d.fused_names(), (std::vector<std::string>{"fused.linear_q4gsw"}));
  EXPECT_EQ(std::get<ValueList>(d.graph.value(d.graph.calls[0].args.back())).items,
            d.graph.outputs);
}

TEST(FuseLinear, LogitsTakeTheLastTokenWhereItLies) {
  const auto head = [](Decoder& d, std::int64_t index) {
    const ValueId x = d.input(kDim), dim = d.graph.add(std::int64_t{1});
    const ValueId row =
        d.call("aten.select_copy.int", {x, dim, d.graph.add(index)}, d.tensor({1, kDim}));
    const ValueId normed = d.norm(row);
    std::get<TensorInfo>(d.graph.value(normed)).bound = {1, kDim};
    const ValueId logits = d.linear(normed, kHidden);
    std::get<TensorInfo>(d.graph.value(logits)).bound = {1, kHidden};
    d.output(logits);
    return row;
  };
  Decoder last, first, shown;
  head(last, -1);
  EXPECT_EQ(last.fused_names(), (std::vector<std::string>{"fused.linear_q4gsw"}));
  EXPECT_EQ(last.graph.calls[0].args[0], last.graph.inputs[0]);
  head(first, 0);
  EXPECT_EQ(std::ranges::count(first.fused_names(), "aten.select_copy.int"), 1);
  shown.output(head(shown, -1));
  EXPECT_EQ(std::ranges::count(shown.fused_names(), "aten.select_copy.int"), 1);
}

// A feed-forward over x, and the logits of its last token. `more` sees what it computes for all.
Decoder last_layer(const std::function<void(Decoder&, ValueId x, ValueId down)>& more) {
  Decoder d;
  const ValueId x = d.linear(d.input(kDim), kDim), normed = d.norm(x);
  const ValueId hidden = d.multiply(d.silu(d.linear(normed, kHidden)), d.linear(normed, kHidden));
  const ValueId down = d.add(x, d.linear(hidden, kDim));
  more(d, x, down);
  const ValueId dim = d.graph.add(std::int64_t{1}), index = d.graph.add(std::int64_t{-1});
  const ValueId row = d.call("aten.select_copy.int", {down, dim, index}, d.tensor({1, kDim}));
  const ValueId logits = d.linear(row, kHidden);
  std::get<TensorInfo>(d.graph.value(logits)).bound = {1, kHidden};
  d.output(logits);
  fuse_linear(d.graph);
  return d;
}

// By call: 1 if it takes the last row alone.
std::vector<int> narrowed(const Decoder& d) {
  std::vector<int> out;
  for (const Call& c : d.graph.calls) {
    out.push_back(c.name == "fused.linear_q4gsw" &&
                  std::get<bool>(d.graph.value(c.args[fused_linear::kLast])));
  }
  return out;
}

TEST(FuseLinear, WhatOnlyTheLastTokenNeedsIsComputedForIt) {
  const Decoder d = last_layer([](Decoder&, ValueId, ValueId) {});
  // The first is no fused layer: gate and up read its last row, as the sum behind them does.
  EXPECT_EQ(narrowed(d), (std::vector<int>{0, 1, 1, 1}));
  for (std::size_t c = 1; c < 3; ++c) {
    const ValueId out = std::get<ValueList>(d.graph.value(d.graph.calls[c].args.back())).items[0];
    EXPECT_EQ(d.graph.tensor(out)->bound[1], 1);
  }
}

TEST(FuseLinear, WhatIsReadForAllTokensIsComputedForAll) {
  const Decoder shown = last_layer([](Decoder& d, ValueId, ValueId down) { d.output(down); });
  EXPECT_EQ(narrowed(shown), (std::vector<int>{0, 0, 0, 1}));
  const Decoder read =
      last_layer([](Decoder& d, ValueId x, ValueId down) { d.output(d.add(x, d.norm(down))); });
  EXPECT_EQ(narrowed(read), (std::vector<int>{0, 0, 0, 0, 0, 1}));
}

TEST(FuseLinear, ANormWithAnotherReaderStays) {
  Decoder d;
  const ValueId normed = d.norm(d.input(kDim));
  d.output(d.linear(normed, kDim));
  d.output(normed);
  EXPECT_EQ(d.fused_names(),
            (std::vector<std::string>{"et_vk.rms_norm.default", "et_vk.linear_q4gsw.default"}));
}

TEST(FuseLinear, AGateThatIsAlsoAnOutputStays) {
  Decoder d;
  const ValueId x = d.input(kDim), gate = d.linear(x, kHidden);
  d.output(d.multiply(d.silu(gate), d.linear(x, kHidden)));
  d.output(gate);
  const auto names = d.fused_names();
  EXPECT_EQ(std::ranges::count(names, "aten.mul.Tensor"), 2);
}

TEST(FuseLinear, AScaledOrBroadcastSumStays) {
  Decoder d;
  const ValueId x = d.input(kDim);
  const ValueId row = d.graph.inputs.emplace_back(d.tensor({1, 1, kDim}));
  d.output(d.add(row, d.linear(x, kDim)));
  d.output(d.call("aten.add.Tensor", {x, d.linear(x, kDim), d.graph.add(std::int64_t{2})},
                  d.activation(kDim)));
  const auto names = d.fused_names();
  EXPECT_EQ(std::ranges::count(names, "aten.add.Tensor"), 2);
}

TEST(FuseLinear, TheSameLinearOnBothSidesOfASumStays) {
  Decoder d;
  const ValueId y = d.linear(d.input(kDim), kDim);
  d.output(d.add(y, y));
  const auto names = d.fused_names();
  EXPECT_EQ(std::ranges::count(names, "aten.add.Tensor"), 1);
}

}  // namespace
}  // namespace etwebgpu
