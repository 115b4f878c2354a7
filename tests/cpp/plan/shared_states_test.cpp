// Which states of all of a program's delegates are one buffer.
#include "plan/shared_states.h"

#include <gtest/gtest.h>

namespace etwebgpu {
namespace {

StateUse use(ValueId value, bool written, std::string name = "", Dims dims = {4}) {
  return {value, "zeros", std::move(name), DType::Float32, dims, written};
}

using Numbers = std::vector<std::map<ValueId, std::size_t>>;

Numbers shared(const std::vector<DelegateUses>& delegates) {
  const auto out = share_states(delegates);
  EXPECT_TRUE(out) << (out ? "" : out.error().message);
  return out.value_or(SharedStates());
}

std::string refusal(const std::vector<DelegateUses>& delegates) {
  const auto out = share_states(delegates);
  return out ? "none" : out.error().message;
}

TEST(SharedStates, WhatOneMethodHasAloneIsItsOwn) {
  EXPECT_EQ(shared({{"forward", {use(1, true), use(2, true)}}}), Numbers(1));
  EXPECT_EQ(shared({{"a", {use(1, true)}}, {"b", {use(1, true, "", {5})}}}), Numbers(2));
}

TEST(SharedStates, MethodsPairInOrderAndReadersJoin) {
  EXPECT_EQ(shared({{"prefill", {use(3, true), use(4, true)}},
                    {"decode", {use(7, true), use(9, true)}},
                    {"get", {use(1, false), use(2, false)}}}),
            (Numbers{{{3, 0}, {4, 1}}, {{7, 0}, {9, 1}}, {{1, 0}, {2, 1}}}));
}

// Two that only read know of each other through the one that writes, whichever comes first.
TEST(SharedStates, ReadersOfOneWriterHaveOneBuffer) {
  EXPECT_EQ(shared({{"a", {use(1, false)}}, {"b", {use(2, false)}}, {"c", {use(3, true)}}}),
            (Numbers{{{1, 0}}, {{2, 0}}, {{3, 0}}}));
}

TEST(SharedStates, DelegatesOfAMethodReadBeforeTheyWrite) {
  EXPECT_EQ(shared({{"forward", {use(1, false)}}, {"forward", {use(5, true)}}}),
            (Numbers{{{1, 0}}, {{5, 0}}}));
  EXPECT_NE(refusal({{"forward", {use(1, true)}}, {"forward", {use(5, false)}}}).find("'forward'"),
            std::string::npos);
}

// Delegates of one method are one list for another method.
TEST(SharedStates, AMethodOfTwoDelegatesPairsAsAWhole) {
  EXPECT_EQ(shared({{"prefill", {use(1, true), use(2, true)}},
                    {"decode", {use(1, true)}},
                    {"decode", {use(6, true)}}}),
            (Numbers{{{1, 0}, {2, 1}}, {{1, 0}}, {{6, 1}}}));
}

TEST(SharedStates, NamesDecide) {
  EXPECT_EQ(
      shared({{"both", {use(1, true, "a"), use(2, true, "b")}}, {"one", {use(8, true, "b")}}}),
      (Numbers{{{2, 0}}, {{8, 0}}}));
}

TEST(SharedStates, WhatCannotBeToldIsRefusedByName) {
  const std::string why =
      refusal({{"both", {use(1, true), use(2, true)}}, {"one", {use(8, true)}}});
  for (const char* part : {"method 'one' shares states with 'both'", "float32 [4]",
                           "cannot be told", "executorch_webgpu.lowering"})
    EXPECT_NE(why.find(part), std::string::npos) << why;
}

}  // namespace
}  // namespace etwebgpu
