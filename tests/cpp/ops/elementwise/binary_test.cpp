#include <gtest/gtest.h>

#include "support/one_call.h"

namespace etwebgpu::testing {
namespace {

TEST(Binary, BroadcastsOnLiveSizes) {
  OneCall call("aten.mul.Tensor");
  ASSERT_EQ(call.input({9, 1, 4}).input({3, 1}).output({9, 3, 4}).load(), "");
  EXPECT_EQ(call.sizes({{{9, 1, 4}}, {{3, 1}}}), "[9, 3, 4]");
  EXPECT_EQ(call.sizes({{{2, 1, 4}}, {{1, 1}}}), "[2, 1, 4]");
  EXPECT_EQ(call.sizes({{{0, 1, 4}}, {{3, 1}}}), "[0, 3, 4]");
}

TEST(Binary, RefusesSizesThatDoNotBroadcast) {
  EXPECT_EQ(OneCall("aten.mul.Tensor").input({2, 3}).input({4}).output({2, 4}).load(),
            "call 0 aten.mul.Tensor: sizes [2, 3] and [4] do not broadcast");
  OneCall call("aten.mul.Tensor");
  ASSERT_EQ(call.input({4, 3}).input({4, 3}).output({4, 3}).load(), "");
  EXPECT_EQ(call.sizes({{{2, 3}}, {{4, 3}}}),
            "call 0 aten.mul.Tensor: sizes [2, 3] and [4, 3] do not broadcast");
  EXPECT_EQ(call.sizes({{{2, 3}}, {{2, 3}}}), "[2, 3]");  // and stays usable
}

TEST(Binary, EqualSizesNeedNoIndexArithmetic) {
  OneCall call("aten.add.Tensor");
  ASSERT_EQ(call.input({5, 3}).input({5, 3}).arg(std::int64_t{1}).output({5, 3}).load(), "");
  const Plan* plan = call.run({{{5, 3}}, {{5, 3}}});
  ASSERT_EQ(plan->dispatches.size(), 1u);
  EXPECT_EQ(call.parameter(*plan, 0, "SPLITS"), "0");
  EXPECT_EQ(call.parameter(*plan, 0, "LANES"), "4");
}

TEST(Binary, ARowOfVectorsNeedsOneDivision) {
  OneCall call("aten.mul.Tensor");
  ASSERT_EQ(call.input({7, 3, 8}).input({8}).output({7, 3, 8}).load(), "");
  const Plan* plan = call.run({{{7, 3, 8}}, {{8}}});
  EXPECT_EQ(call.parameter(*plan, 0, "SPLITS"), "1");
  EXPECT_EQ(call.parameter(*plan, 0, "LANES"), "4");
}

TEST(Binary, AlphaOfOneCostsNothing) {
  for (const auto& [alpha, expression] : {std::pair(1.0, "a - b"), std::pair(0.5, "a - x * b")}) {
    OneCall call("aten.sub.Tensor");
    ASSERT_EQ(call.input({4}).input({4}).arg(alpha).output({4}).load(), "");
    EXPECT_EQ(call.parameter(*call.run({{{4}}, {{4}}}), 0, "EXPR"), expression);
  }
}

TEST(Binary, ComparesInTheCommonType) {
  OneCall call("aten.lt.Scalar");
  ASSERT_EQ(call.input({4}, DType::Int32).arg(0.5).output({4}, DType::Bool).load(), "");
  EXPECT_EQ(call.parameter(*call.run({{{4}}}), 0, "A_AS"), "f32");
}

TEST(Binary, RefusesFormsThatDoNotExist) {
  EXPECT_EQ(OneCall("aten.lt.Scalar").input({4}).arg(0.5).output({4}).load(),
            "call 0 aten.lt.Scalar: there is no form with a float32 output");
  EXPECT_EQ(OneCall("aten.div.Tensor_mode")
                .input({4})
                .input({4})
                .arg(std::string("ceil"))
                .output({4})
                .load(),
            "call 0 aten.div.Tensor_mode: rounding mode 'ceil' is unknown");
}

TEST(Where, BroadcastsThreeOperands) {
  OneCall call("aten.where.self");
  ASSERT_EQ(call.input({5, 1}, DType::Bool).input({4}).input({1}).output({5, 4}).load(), "");
  EXPECT_EQ(call.sizes({{{5, 1}}, {{4}}, {{1}}}), "[5, 4]");
  EXPECT_EQ(call.sizes({{{2, 1}}, {{3}}, {{1}}}), "[2, 3]");
}

}  // namespace
}  // namespace etwebgpu::testing
