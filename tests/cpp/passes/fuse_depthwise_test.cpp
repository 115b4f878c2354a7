// What becomes one call, and what must stay apart. How it is computed is in plan/golden/fusions.
#include <gtest/gtest.h>

#include <functional>

#include "passes/passes.h"
#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

const Dims kImages{2, 8, 6, 6};
constexpr std::int64_t kChannels = 8;
constexpr const char* kPlain = "aten.convolution.default";

// A convolution that keeps the images' sizes.
struct Form {
  Dims weight;
  std::int64_t groups = 1;
  std::int64_t stride = 1, padding = 0, dilation = 1;
  bool transposed = false, in_variable = false;
};
const Form kDepthwise{.weight = {kChannels, 1, 3, 3}, .groups = kChannels, .padding = 1};
const Form kPointwise{.weight = {kChannels, kChannels, 1, 1}};

ValueId convolution(GraphBuilder& b, ValueId x, const Form& form) {
  const auto both = [&](std::int64_t n) { return b.ints({n, n}); };
  const ValueId weight = form.in_variable ? b.input(form.weight) : b.constant(form.weight);
  return b.call(kPlain,
                {x, weight, b.constant({kChannels}), both(form.stride), both(form.padding),
                 both(form.dilation), b.flag(form.transposed), both(0), b.number(form.groups)},
                b.bound(x));
}
ValueId relu(GraphBuilder& b, ValueId x) { return b.call("aten.relu.default", {x}, b.bound(x)); }

Names fused_names(GraphBuilder& b) {
  fuse_linear(b.graph);
  fuse_depthwise(b.graph);
  return call_names(b.graph);
}
const Names kOne{"fused.depthwise_pointwise"};

// Of one convolution and another of its results.
Names names_of(const Form& first, const Form& second) {
  GraphBuilder b;
  b.output(convolution(b, convolution(b, b.input(kImages), first), second));
  return fused_names(b);
}

TEST(FuseDepthwise, APointwiseConvolutionTakesItIn) {
  EXPECT_EQ(names_of(kDepthwise, kPointwise), kOne);
}

TEST(FuseDepthwise, OtherFormsStay) {
  const Names both{kPlain, kPlain};
  const auto with = [](Form form, const std::function<void(Form&)>& change) {
    change(form);
    return form;
  };
  for (const Form& first : {
           with(kDepthwise, [](Form& f) { f.transposed = true; }),
           with(kDepthwise, [](Form& f) { f.in_variable = true; }),
           with(kDepthwise, [](Form& f) { f.weight = {kChannels, 2, 3, 3}, f.groups = 4; }),
           with(kDepthwise, [](Form& f) { f.weight = {kChannels, kChannels, 3, 3}, f.groups = 1; }),
       })
    EXPECT_EQ(names_of(first, kPointwise), both);
  for (const Form& second : {
           with(kPointwise, [](Form& f) { f.transposed = true; }),
           with(kPointwise, [](Form& f) { f.in_variable = true; }),
           with(kPointwise, [](Form& f) { f.stride = 2; }),
           with(kPointwise, [](Form& f) { f.padding = 1; }),
           with(kPointwise, [](Form& f) { f.dilation = 2; }),
           with(kPointwise, [](Form& f) { f.weight = {kChannels, 4, 1, 1}, f.groups = 2; }),
           with(kPointwise, [](Form& f) { f.weight = {kChannels, kChannels, 1, 3}; }),
       })
    EXPECT_EQ(names_of(kDepthwise, second), both);
}

TEST(FuseDepthwise, ChannelsThatAreNoWholeVectorsStay) {
  GraphBuilder b;
  const Dims images{1, 6, 5, 5};
  const ValueId one = b.ints({1, 1}), zero = b.ints({0, 0}), no = b.flag(false);
  const auto layer = [&](ValueId x, const Dims& weight, ValueId padding, std::int64_t groups) {
    return b.call(kPlain,
                  {x, b.constant(weight), b.none(), one, padding, one, no, zero, b.number(groups)},
                  images);
  };
  b.output(layer(layer(b.input(images), {6, 1, 3, 3}, one, 6), {6, 6, 1, 1}, zero, 1));
  EXPECT_EQ(fused_names(b), (Names{kPlain, kPlain}));
}

TEST(FuseDepthwise, ResultsOfOtherSizesThanRecordedStay) {
  for (const Dims& recorded : {Dims{2, 2 * kChannels, 6, 6}, Dims{2, kChannels, 36}}) {
    GraphBuilder b;
    const ValueId item = b.ints({1}), zero = b.ints({0}), no = b.flag(false);
    const auto layer = [&](ValueId x, const Dims& weight, ValueId padding, std::int64_t groups,
                           const Dims& out) {
      return b.call(
          kPlain,
          {x, b.constant(weight), b.none(), item, padding, item, no, zero, b.number(groups)}, out);
    };
    const ValueId y = layer(b.input(kImages), kDepthwise.weight, item, kChannels, recorded);
    const Dims weight = recorded.rank() == 4 ? Dims{4, recorded[1], 1, 1} : Dims{4, kChannels, 1};
    b.output(layer(y, weight, zero, 1, {2, 4, 6, 6}));
    EXPECT_EQ(fused_names(b), (Names{kPlain, kPlain}));
  }
}

TEST(FuseDepthwise, FunctionsAndAResidualComeAlong) {
  GraphBuilder b;
  const ValueId x = b.input(kImages), y = relu(b, convolution(b, x, kDepthwise));
  b.output(relu(b, b.add(convolution(b, y, kPointwise), x)));
  ASSERT_EQ(fused_names(b), kOne);
  const Call& fused = b.graph.calls[0];
  EXPECT_EQ(fused.covers.size(), 5U);
}

TEST(FuseDepthwise, FunctionsOfTwoLibrariesStay) {
  GraphBuilder b;
  const ValueId y = b.silu(convolution(b, b.input(kImages), kDepthwise));
  b.output(b.call("aten.gelu.default", {convolution(b, y, kPointwise)}, kImages));
  EXPECT_EQ(fused_names(b), (Names{"fused.convolution", "fused.convolution"}));
}

TEST(FuseDepthwise, AResidualOfItsOwnStays) {
  GraphBuilder b;
  const ValueId x = b.input(kImages);
  b.output(convolution(b, b.add(convolution(b, x, kDepthwise), x), kPointwise));
  EXPECT_EQ(fused_names(b), (Names{"fused.convolution", kPlain}));
}

TEST(FuseDepthwise, WhatIsReadTwiceStays) {
  for (const bool is_output : {false, true}) {
    GraphBuilder b;
    const ValueId y = convolution(b, b.input(kImages), kDepthwise);
    b.output(convolution(b, y, kPointwise));
    b.output(is_output ? y : b.call("aten.neg.default", {y}, kImages));
    EXPECT_EQ(count(fused_names(b), kPlain), 2);
  }
}

TEST(FuseDepthwise, WhatIsAlsoTheResidualStays) {
  GraphBuilder b;
  const ValueId y = convolution(b, b.input(kImages), kDepthwise);
  b.output(b.add(convolution(b, y, kPointwise), y));
  EXPECT_EQ(fused_names(b), (Names{kPlain, "fused.convolution"}));
}

TEST(FuseDepthwise, AnInputThatIsOverwrittenBeforeStays) {
  GraphBuilder b;
  const ValueId x = b.constant(kImages), y = convolution(b, x, kDepthwise);
  b.call("aten.mul.Tensor", {b.input(kImages), b.input(kImages)}, x);
  b.output(convolution(b, y, kPointwise));
  EXPECT_EQ(count(fused_names(b), kPlain), 2);
}

TEST(FuseDepthwise, AWeightThatAnotherGraphWritesIsNoConstant) {
  GraphBuilder b;
  b.output(convolution(b, convolution(b, b.input(kImages), kDepthwise), kPointwise));
  const ValueId weight = b.graph.calls[0].args[1];
  std::vector<std::uint8_t> written(b.graph.values.size(), 0);
  written[static_cast<std::size_t>(weight)] = 1;
  fuse_depthwise(b.graph, written);
  EXPECT_EQ(call_names(b.graph), (Names{kPlain, kPlain}));
}

TEST(FuseDepthwise, BoundsBecomeAFunction) {
  GraphBuilder b;
  const ValueId one = b.ints({1, 1}), zero = b.ints({0, 0});
  const auto clamped = [&](ValueId highest) {
    return b.call("et_vk.conv_with_clamp.default",
                  {b.input(kImages), b.constant(kDepthwise.weight), b.none(), one, one, one,
                   b.flag(false), zero, b.number(kChannels), b.number(0.0), highest},
                  kImages);
  };
  b.output(convolution(b, clamped(b.number(6.0)), kPointwise));
  b.output(convolution(b, clamped(b.scalar_input()), kPointwise));  // not one of the file
  const Names names = fused_names(b);
  EXPECT_EQ(count(names, "fused.depthwise_pointwise"), 1);
  EXPECT_EQ(count(names, kPlain), 1);
}

}  // namespace
}  // namespace etwebgpu::testing
