#include <gtest/gtest.h>

#include "support/one_call.h"

namespace etwebgpu::testing {
namespace {

TEST(Unary, FollowsLiveSizes) {
  OneCall call("aten.exp.default");
  ASSERT_EQ(call.input({8, 5}).output({8, 5}).load(), "");
  EXPECT_EQ(call.sizes({{{8, 5}}}), "[8, 5]");
  EXPECT_EQ(call.sizes({{{3, 5}}}), "[3, 5]");
  EXPECT_EQ(call.sizes({{{0, 5}}}), "[0, 5]");
}

TEST(Unary, WritesFourElementsPerInvocation) {
  OneCall call("aten.exp.default");
  ASSERT_EQ(call.input({1025}).output({1025}).load(), "");
  const Plan* plan = call.run({{{1025}}});
  ASSERT_EQ(plan->dispatches.size(), 1u);
  EXPECT_EQ(call.parameter(*plan, 0, "LANES"), "4");
  EXPECT_EQ(plan->dispatches[0].grid.x, 5u);  // 257 vectors in workgroups of 64
}

TEST(Unary, NoElementsNoDispatch) {
  OneCall call("aten.neg.default");
  ASSERT_EQ(call.input({4, 4}).output({4, 4}).load(), "");
  EXPECT_TRUE(call.run({{{0, 4}}})->dispatches.empty());
}

TEST(Unary, FoldsGridsPastTheLimit) {
  OneCall call("aten.neg.default");
  const std::int64_t n = 4ll * 64 * 65535 + 1;
  ASSERT_EQ(call.input({n}).output({n}).load(), "");
  const Plan* plan = call.run({{{n}}});
  EXPECT_LE(plan->dispatches[0].grid.x, 65535u);
  EXPECT_EQ(plan->dispatches[0].grid.y, 2u);
}

TEST(Unary, RefusesTypesItHasNoFormFor) {
  EXPECT_EQ(OneCall("aten.exp.default").input({4}, DType::Int32).output({4}, DType::Int32).load(),
            "call 0 aten.exp.default: there is no form from int32 to int32");
  EXPECT_EQ(OneCall("aten.gelu.default").input({4}).arg(std::string("erf")).output({4}).load(),
            "call 0 aten.gelu.default: approximation 'erf' is unknown");
}

TEST(Unary, ClampTakesMissingBounds) {
  OneCall call("aten.clamp.default");
  EXPECT_EQ(call.input({4}).arg(std::monostate{}).arg(std::int64_t{3}).output({4}).load(), "");
}

}  // namespace
}  // namespace etwebgpu::testing
