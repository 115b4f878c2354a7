// How scalars follow from what a call brings, and how far.
#include "plan/live_values.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kLeast = std::numeric_limits<std::int32_t>::min();
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

// A model of x [4, 4] and what `build` adds.
template <typename Build>
LiveValues live_of(const Build& build, std::span<const HostInput> more) {
  GraphBuilder b;
  const ValueId x = b.input({4, 4});
  b.output(build(b, x));
  const auto model = compile(std::move(b.graph));
  std::vector<HostInput> inputs = {host_input({4, 4})};
  inputs.insert(inputs.end(), more.begin(), more.end());
  auto live = find_live_values(*model, inputs, true);
  EXPECT_TRUE(live) << live.error().message;
  return live ? *live : LiveValues();
}

// The scalar's value by what was found.
std::int64_t value_of(const LiveScalar& scalar, std::initializer_list<std::int64_t> values) {
  std::int64_t out = scalar.base;
  for (std::size_t v = 0; v < values.size(); ++v) out += scalar.factors[v] * values.begin()[v];
  return out;
}

ValueId checked(GraphBuilder& b, ValueId scalar, int least, int most) {
  b.call("sym_constrain_range.default", {scalar, b.number(least), b.number(most)}, b.none());
  return scalar;
}
ValueId arithmetic(GraphBuilder& b, const char* name, ValueId left, ValueId right) {
  return b.call(name, {left, right}, b.scalar());
}

TEST(LiveValues, AnIntegerThatNothingChecksMayBeAny) {
  const HostInput scalars[] = {host_scalar(7)};
  const auto live =
      live_of([](GraphBuilder& b, ValueId x) { return b.multiply(x, b.scalar_input()); }, scalars);
  ASSERT_EQ(live.values.size(), 1u);
  EXPECT_EQ(live.values[0].input, 1u);
  EXPECT_EQ(live.values[0].element, -1);
  EXPECT_EQ(live.values[0].least, kLeast);
  EXPECT_EQ(live.values[0].most, kMost);
  EXPECT_EQ(value_of(live.scalars[0], {-3}), -3);
}

TEST(LiveValues, SumsAndProductsAreFollowedAsFarAsTheyAreChecked) {
  const HostInput scalars[] = {host_scalar(1)};
  const auto live = live_of(
      [](GraphBuilder& b, ValueId x) {
        const ValueId tripled = arithmetic(b, "mul", b.scalar_input(), b.number(3));
        return b.multiply(x, checked(b, arithmetic(b, "sub", tripled, b.number(5)), -50, 10'000));
      },
      scalars);
  ASSERT_EQ(live.values.size(), 1u);
  EXPECT_EQ(live.values[0].least, -15);
  EXPECT_EQ(live.values[0].most, 3335);
  ASSERT_EQ(live.scalars.size(), 3u);
  EXPECT_EQ(value_of(live.scalars[2], {100}), 295);
}

TEST(LiveValues, EndsFarAwayAreFoundToo) {
  const HostInput scalars[] = {host_scalar(0)};
  const auto live =
      live_of([](GraphBuilder& b,
                 ValueId x) { return b.multiply(x, checked(b, b.scalar_input(), -7, 1'234'567)); },
              scalars);
  EXPECT_EQ(live.values[0].least, -7);
  EXPECT_EQ(live.values[0].most, 1'234'567);
}

TEST(LiveValues, WhatIsNoSumHoldsUntilItBends) {
  const HostInput scalars[] = {host_scalar(32)};
  const auto live = live_of(
      [](GraphBuilder& b, ValueId x) {
        return b.multiply(x, arithmetic(b, "floordiv", b.scalar_input(), b.number(16)));
      },
      scalars);
  EXPECT_EQ(live.values[0].least, 32);
  EXPECT_EQ(live.values[0].most, 47);
  EXPECT_EQ(value_of(live.scalars[1], {40}), 2);
}

TEST(LiveValues, AScalarThatIsPartOfThePlanHoldsForOneValue) {
  const HostInput scalars[] = {host_scalar(2)};
  const auto live = live_of(
      [](GraphBuilder& b, ValueId x) {
        return b.call("aten.clamp.default", {x, b.scalar_input(), b.none()}, b.bound(x));
      },
      scalars);
  EXPECT_EQ(live.values[0].least, 2);
  EXPECT_EQ(live.values[0].most, 2);
}

TEST(LiveValues, OfATensorTheElementsThatMatter) {
  const std::int64_t elements[] = {0, 0, 0};
  const HostInput positions[] = {host_input({3}, 0, elements)};
  const auto live = live_of(
      [](GraphBuilder& b, ValueId x) {
        const ValueId from = b.input({3}, DType::Int32);
        const ValueId one =
            b.call("et_vk.select_as_symint.default", {from, b.number(0), b.number(1)}, b.scalar());
        return b.multiply(x, checked(b, one, 0, 9));
      },
      positions);
  ASSERT_EQ(live.values.size(), 1u);
  EXPECT_EQ(live.values[0].element, 1);
  EXPECT_EQ(live.values[0].least, 0);
  EXPECT_EQ(live.values[0].most, 9);
}

TEST(LiveValues, RangesHoldTogether) {
  const HostInput scalars[] = {host_scalar(0), host_scalar(0)};
  const auto live = live_of(
      [](GraphBuilder& b, ValueId x) {
        const ValueId start = checked(b, b.scalar_input(), 0, 60);
        const ValueId count = checked(b, b.scalar_input(), 0, 50);
        return b.multiply(x, checked(b, arithmetic(b, "add", start, count), 0, 100));
      },
      scalars);
  ASSERT_EQ(live.values.size(), 2u);
  EXPECT_EQ(live.values[0].most, 60);
  EXPECT_EQ(live.values[1].most, 40) << "with a start of 60";
  EXPECT_EQ(value_of(live.scalars[2], {30, 12}), 42);
}

}  // namespace
}  // namespace etwebgpu::testing
