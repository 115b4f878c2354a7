#include <gtest/gtest.h>

#include "ops/op.h"
#include "support/graph_builder.h"

namespace etwebgpu {
namespace {

// Values: 0 tensor, 1 Int, 2 None, 3 SymInt, 4 list of tensors, 5 list of Int and SymInt, 6 and 7
// Double.
Graph sample() {
  testing::GraphBuilder b;
  b.tensor({2, 3});
  b.number(4);
  b.none();
  b.scalar();
  b.list({0, 0});
  b.list({1, 3});
  b.number(2.5);
  b.number(3.0);
  return std::move(b.graph);
}

bool accepts(std::string_view signature, std::vector<ValueId> args) {
  Op op{};
  op.signature = signature;
  return check_signature(op, sample(), Call{"test", std::move(args)}).has_value();
}

TEST(Signature, AcceptsWhatItSays) {
  EXPECT_TRUE(accepts("tti > t", {0, 0, 1, 0}));
  EXPECT_TRUE(accepts("tti > t", {0, 0, 3, 0}));
  EXPECT_TRUE(accepts("t t? f > t", {0, 2, 6, 0}));
  EXPECT_TRUE(accepts("v l > v", {4, 5, 4}));
  EXPECT_TRUE(accepts("n n > t", {0, 6, 0}));
  EXPECT_TRUE(accepts("t [i] > t", {0, 0}));
  EXPECT_TRUE(accepts("t [i] > t", {0, 1, 0}));
  EXPECT_TRUE(accepts("i _ > y", {1, 2, 3}));
  EXPECT_TRUE(accepts("t i > t", {0, 7, 0})) << "a whole Double stands for an integer";
}

TEST(Signature, RefusesWhatDiffers) {
  EXPECT_FALSE(accepts("tti > t", {0, 0, 0}));
  EXPECT_FALSE(accepts("tti > t", {0, 0, 6, 0}));
  EXPECT_FALSE(accepts("t t > t", {0, 2, 0}));
  EXPECT_FALSE(accepts("t > y", {0, 0}));
  EXPECT_FALSE(accepts("l > t", {4, 0}));
  EXPECT_FALSE(accepts("t [i] > t", {0, 1, 1, 0}));
}

TEST(Signature, ErrorsNameArgumentAndKind) {
  Op op{};
  op.signature = "tt > t";
  const auto result = check_signature(op, sample(), Call{"test", {0, 1, 0}});
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message, "argument 1 (value 1) must be a tensor, found Int");
}

}  // namespace
}  // namespace etwebgpu
