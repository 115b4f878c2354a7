#include <gtest/gtest.h>

#include <limits>

#include "support/one_call.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();

Value integer(std::int64_t value) { return value; }
Value none() { return std::monostate{}; }

OneCall slice(std::int64_t dim, Value start, Value end, std::int64_t step) {
  OneCall call("aten.slice_copy.Tensor");
  call.input({9, 4}).arg(dim).arg(start).arg(end).arg(step).output({9, 4});
  return call;
}

TEST(Slice, ClampsLikePyTorch) {
  struct Case {
    Value start, end;
    std::int64_t step;
    const char* expected;
  };
  const Case cases[] = {
      {integer(2), integer(kEnd), 1, "[7, 4]"}, {none(), none(), 1, "[9, 4]"},
      {integer(-3), none(), 2, "[2, 4]"},       {integer(7), integer(3), 1, "[0, 4]"},
      {integer(-99), integer(-2), 3, "[3, 4]"}, {integer(50), none(), 1, "[0, 4]"}};
  for (const Case& c : cases) {
    OneCall call = slice(0, c.start, c.end, c.step);
    ASSERT_EQ(call.load(), "");
    EXPECT_EQ(call.sizes({{{9, 4}}}), c.expected);
  }
}

TEST(Slice, NamesWhatIsWrong) {
  EXPECT_EQ(slice(0, none(), none(), 0).load(),
            "call 0 aten.slice_copy.Tensor: step 0 must be positive");
  EXPECT_NE(slice(2, none(), none(), 1).load().find("2"), std::string::npos);
}

TEST(Slice, MovingTheStartKeepsThePlan) {
  OneCall call("aten.slice_copy.Tensor");
  call.input({9, 4}).arg(integer(0)).scalar_input().arg(none()).arg(integer(1)).output({9, 4});
  ASSERT_EQ(call.load(), "");
  EXPECT_EQ(call.sizes({{{9, 4}}, {{}, 2}}), "[7, 4]");
  const Plan* plan = call.run({{{9, 4}}, {{}, 9}});
  EXPECT_EQ(plan->outputs[0].sizes.numel(), 0);
  const Plan* again = call.run({{{9, 4}}, {{}, 100}});
  EXPECT_EQ(plan, again);
}

TEST(Select, ChecksTheLiveIndex) {
  OneCall call("aten.select_copy.int");
  call.input({9, 4}).arg(integer(0)).scalar_input().output({4});
  ASSERT_EQ(call.load(), "");
  const Plan* plan = call.run({{{9, 4}}, {{}, -1}});
  EXPECT_EQ(call.run({{{9, 4}}, {{}, 3}}), plan);
  EXPECT_EQ(call.sizes({{{3, 4}}, {{}, 5}}),
            "call 0 aten.select_copy.int: index 5 is outside dimension 0 of sizes [3, 4]");
}

TEST(View, ResolvesTheOpenSize) {
  OneCall call("aten.view_copy.default");
  ASSERT_EQ(call.input({6, 4}).ints({-1, 2, 2}).output({6, 2, 2}).load(), "");
  EXPECT_EQ(call.sizes({{{6, 4}}}), "[6, 2, 2]");
  EXPECT_EQ(call.sizes({{{1, 4}}}), "[1, 2, 2]");
  EXPECT_TRUE(call.run({{{2, 4}}})->dispatches.empty());
}

TEST(View, RefusesOtherNumbersOfElements) {
  EXPECT_EQ(OneCall("aten.view_copy.default").input({6, 4}).ints({5, 5}).output({5, 5}).load(),
            "call 0 aten.view_copy.default: a tensor of sizes [6, 4] cannot be viewed as [5, 5]");
  EXPECT_NE(OneCall("aten.view_copy.default").input({6}).ints({-1, -1}).output({6, 1}).load(), "");
  EXPECT_NE(OneCall("aten.view_copy.default").input({6}).ints({-7, 1}).output({6, 1}).load(), "");
  EXPECT_NE(OneCall("aten.view_copy.default")
                .input({6})
                .ints({1, 1, 1, 1, 1, 1, 1, 1, 1, 6})
                .output({6})
                .load(),
            "");
}

TEST(Conversion, IsACopyOnlyWhereWordsDiffer) {
  for (const auto& [to, dispatches] :
       {std::pair(DType::Float16, 0u), std::pair(DType::Int32, 1u)}) {
    OneCall call("aten._to_copy.default");
    ASSERT_EQ(call.input({8}).output({8}, to).load(), "");
    EXPECT_EQ(call.run({{{8}}})->dispatches.size(), dispatches);
  }
}

TEST(Permute, ChecksTheOrder) {
  OneCall call("aten.permute_copy.default");
  ASSERT_EQ(call.input({2, 3, 4}).ints({2, 0, -2}).output({4, 2, 3}).load(), "");
  EXPECT_EQ(call.sizes({{{2, 3, 1}}}), "[1, 2, 3]");
  EXPECT_EQ(OneCall("aten.permute_copy.default").input({2, 3}).ints({1, -1}).output({2, 3}).load(),
            "call 0 aten.permute_copy.default: the permutation [1, -1] names dimension 1 twice");
}

TEST(Split, ChecksItsParts) {
  const auto split = [](std::vector<std::int64_t> parts) {
    OneCall call("aten.split_with_sizes_copy.default");
    call.input({5, 2}).ints(std::move(parts)).arg(integer(0)).output({5, 2});
    return call.load();
  };
  EXPECT_EQ(split({5}), "");
  EXPECT_NE(split({6}), "");
  EXPECT_NE(split({4}), "");
  EXPECT_NE(split({2, 3}), "");
}

TEST(Cat, TakesAnyNumberOfInputs) {
  for (const std::size_t count : {1u, 7u, 8u, 20u}) {
    OneCall call("aten.cat.default");
    for (std::size_t i = 0; i < count; ++i) call.input({2, 3});
    const auto n = static_cast<std::int64_t>(count);
    ASSERT_EQ(call.as_list().arg(integer(-1)).output({2, 3 * n}).load(), "");
    const Plan* plan = call.run(std::vector<OneCall::Input>(count, {{2, 3}}));
    EXPECT_EQ(plan->dispatches.size(), (count + 6) / 7);
  }
}

TEST(Cat, SkipsInputsWithoutElements) {
  OneCall call("aten.cat.default");
  ASSERT_EQ(
      call.input({0}).input({4, 3}).input({2, 3}).as_list().arg(integer(0)).output({6, 3}).load(),
      "");
  EXPECT_EQ(call.sizes({{{0}}, {{4, 3}}, {{0, 3}}}), "[4, 3]");
  EXPECT_EQ(call.sizes({{{0}}, {{0, 3}}, {{0, 3}}}), "[0, 3]");
  EXPECT_EQ(
      call.sizes({{{0}}, {{1, 3}}, {{1, 2}}}),
      "call 0 aten.cat.default: sizes [1, 2] and [1, 3] cannot be concatenated in dimension 0");
}

TEST(Repeat, RefusesOverflow) {
  const auto repeat = [](std::int64_t times) {
    return OneCall("aten.repeat.default").input({3, 2}).ints({times, 1}).output({6, 2}).load();
  };
  EXPECT_EQ(repeat(2), "");
  EXPECT_NE(repeat(3), "");
  EXPECT_NE(repeat(-1), "");
  EXPECT_NE(repeat(kEnd), "");
}

TEST(Pad, CropsAndRefusesOverflow) {
  const auto pad = [](std::vector<std::int64_t> pads) {
    OneCall call("aten.constant_pad_nd.default");
    call.input({4, 4}).ints(std::move(pads)).arg(0.0).output({4, 7});
    return call.load() + (call.error().empty() ? "" : "!");
  };
  EXPECT_EQ(pad({1, 2}), "");
  EXPECT_EQ(pad({-2, 2, -1, 0}), "");
  EXPECT_NE(pad({1}), "");
  EXPECT_NE(pad({-3, -3}), "");
  EXPECT_NE(pad({kEnd, kEnd}), "");
  EXPECT_NE(pad({std::numeric_limits<std::int64_t>::min(), 1}), "");
}

TEST(Arange, FitsItsRecordedSize) {
  const auto arange = [](Value start, Value end, Value step) {
    OneCall call("aten.arange.start_step");
    call.arg(start).arg(end).arg(step).output({5}, DType::Int32);
    return call.load();
  };
  EXPECT_EQ(arange(integer(0), integer(5), integer(1)), "");
  EXPECT_EQ(arange(integer(9), 0.0, integer(-2)), "");
  EXPECT_NE(arange(integer(0), integer(6), integer(1)), "");
  EXPECT_NE(arange(integer(0), integer(5), integer(0)), "");
  EXPECT_NE(arange(integer(5), integer(0), integer(1)), "");
}

}  // namespace
}  // namespace etwebgpu::testing
