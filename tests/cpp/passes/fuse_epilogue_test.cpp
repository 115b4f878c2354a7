// What must stay apart: what fuses is in plan/golden/fusions.
#include <gtest/gtest.h>

#include <limits>

#include "passes/passes.h"
#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

const Dims kImages{2, 4, 6, 6};

ValueId convolution(GraphBuilder& b, ValueId x, ValueId weight) {
  const ValueId one = b.ints({1, 1}), zero = b.ints({0, 0});
  return b.call("aten.convolution.default",
                {x, weight, b.none(), one, one, one, b.flag(false), zero, b.number(1)}, b.bound(x));
}
ValueId convolution(GraphBuilder& b, ValueId x) {
  return convolution(b, x, b.constant({4, 4, 3, 3}));
}
ValueId relu(GraphBuilder& b, ValueId x) { return b.call("aten.relu.default", {x}, b.bound(x)); }

Names fused_names(GraphBuilder& b) {
  fuse_linear(b.graph);
  return call_names(b.graph);
}

TEST(FuseEpilogue, AProductThatIsReadTwiceStays) {
  GraphBuilder b;
  const ValueId y = convolution(b, b.input(kImages));
  b.output(relu(b, y));
  b.output(b.call("aten.neg.default", {y}, kImages));
  EXPECT_EQ(fused_names(b),
            (Names{"aten.convolution.default", "aten.relu.default", "aten.neg.default"}));
}

TEST(FuseEpilogue, AProductThatIsAnOutputStays) {
  GraphBuilder b;
  const ValueId y = convolution(b, b.input(kImages));
  b.output(relu(b, y));
  b.output(y);
  EXPECT_EQ(count(fused_names(b), "aten.relu.default"), 1);
}

TEST(FuseEpilogue, AProductAddedToItselfStays) {
  GraphBuilder b;
  const ValueId y = convolution(b, b.input(kImages));
  b.output(b.add(y, y));
  EXPECT_EQ(count(fused_names(b), "aten.add.Tensor"), 1);
}

TEST(FuseEpilogue, SumsOfOtherSizesTypesOrScalesStay) {
  GraphBuilder b;
  const ValueId x = b.input(kImages), row = b.input({1, 4, 1, 1});
  const ValueId integers = b.input(kImages, DType::Int32);
  const auto sum = [&](ValueId other, ValueId alpha) {
    b.output(b.call("aten.add.Tensor", {convolution(b, x), other, alpha}, kImages));
  };
  sum(row, b.number(1));
  sum(integers, b.number(1));
  sum(b.number(2.0), b.number(1));
  sum(x, b.number(2));
  EXPECT_EQ(count(fused_names(b), "aten.add.Tensor"), 4);
}

TEST(FuseEpilogue, AnInputThatIsOverwrittenBeforeStays) {
  GraphBuilder b;
  const ValueId x = b.constant(kImages), y = convolution(b, x);
  b.call("aten.mul.Tensor", {b.input(kImages), b.input(kImages)}, x);
  b.output(relu(b, y));
  EXPECT_EQ(count(fused_names(b), "aten.relu.default"), 1);
}

TEST(FuseEpilogue, ALayerWithoutAConstantWeightStays) {
  GraphBuilder b;
  const ValueId x = b.input({3, 8});
  for (const ValueId weight : {b.input({8, 8}), b.constant({8, 8})})
    b.output(relu(b, b.call("aten.linear.default", {x, weight, b.none()}, Dims{3, 8})));
  EXPECT_EQ(fused_names(b), (Names{"aten.linear.default", "aten.relu.default", "fused.linear"}));
}

TEST(FuseEpilogue, AWeightThatAnotherGraphWritesIsNoConstant) {
  GraphBuilder b;
  const ValueId weight = b.constant({8, 8});
  b.output(relu(b, b.call("aten.linear.default", {b.input({3, 8}), weight, b.none()}, Dims{3, 8})));
  std::vector<std::uint8_t> written(b.graph.values.size(), 0);
  written[static_cast<std::size_t>(weight)] = 1;
  fuse_linear(b.graph, written);
  EXPECT_EQ(call_names(b.graph), (Names{"aten.linear.default", "aten.relu.default"}));
}

TEST(FuseEpilogue, AClampedConvolutionHasItsFunction) {
  GraphBuilder b;
  const ValueId x = b.input(kImages), one = b.ints({1, 1}), zero = b.ints({0, 0});
  const auto clamped = [&](ValueId lowest) {
    const ValueId y = b.call("et_vk.conv_with_clamp.default",
                             {x, b.constant({4, 4, 3, 3}), b.none(), one, one, one, b.flag(false),
                              zero, b.number(1), lowest, b.none()},
                             kImages);
    b.output(relu(b, y));
  };
  clamped(b.number(-1.0));
  clamped(b.none());
  EXPECT_EQ(fused_names(b),
            (Names{"et_vk.conv_with_clamp.default", "aten.relu.default", "fused.convolution"}));
}

TEST(FuseEpilogue, BoundsThatAreNoFloatsStay) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  GraphBuilder b;
  const auto clamp = [&](ValueId lowest, ValueId highest) {
    const ValueId y = convolution(b, b.input(kImages));
    b.output(b.call("aten.clamp.default", {y, lowest, highest}, kImages));
  };
  clamp(b.number(kNan), b.none());
  clamp(b.number(kInfinity), b.none());
  clamp(b.none(), b.number(-1e300));
  clamp(b.scalar_input(), b.none());
  EXPECT_EQ(count(fused_names(b), "aten.clamp.default"), 4);
}

TEST(FuseEpilogue, OneFunctionAProduct) {
  GraphBuilder b;
  b.output(relu(b, relu(b, convolution(b, b.input(kImages)))));
  EXPECT_EQ(fused_names(b), (Names{"fused.convolution", "aten.relu.default"}));
}

TEST(FuseEpilogue, ASumAfterAFunctionStays) {
  GraphBuilder b;
  const ValueId x = b.input(kImages);
  b.output(b.add(x, relu(b, convolution(b, x))));
  EXPECT_EQ(fused_names(b), (Names{"fused.convolution", "aten.add.Tensor"}));
}

TEST(FuseEpilogue, ASigmoidOfAnotherValueIsNoSilu) {
  GraphBuilder b;
  const ValueId x = b.input(kImages), other = b.input(kImages);
  b.output(b.multiply(x, b.call("aten.sigmoid.default", {other}, kImages)));
  const ValueId shown = b.call("aten.sigmoid.default", {x}, kImages);
  b.output(b.multiply(x, shown));
  b.output(shown);
  EXPECT_EQ(count(fused_names(b), "aten.mul.Tensor"), 2);
}

}  // namespace
}  // namespace etwebgpu::testing
