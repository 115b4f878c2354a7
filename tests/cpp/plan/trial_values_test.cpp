// What kernels are tried on, and when two results agree.
#include "plan/trial_values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/elements.h"

namespace etwebgpu {
namespace {

template <typename T>
std::vector<std::byte> bytes(std::initializer_list<T> values) {
  const auto all = std::as_bytes(std::span(values.begin(), values.size()));
  return {all.begin(), all.end()};
}

std::optional<std::string> compare(std::initializer_list<float> got,
                                   std::initializer_list<float> wanted) {
  return difference(DType::Float32, bytes(got), bytes(wanted), 1e-3);
}

TEST(TrialValues, TheSameSeedGivesTheSameValues) {
  const Dims sizes{3, 5};
  EXPECT_EQ(made_up(DType::Float32, sizes, false, 7), made_up(DType::Float32, sizes, false, 7));
  EXPECT_NE(made_up(DType::Float32, sizes, false, 7), made_up(DType::Float32, sizes, false, 8));
}

TEST(TrialValues, ConstantsOfOneDimensionArePositive) {
  const auto least = [](const Dims& sizes, bool is_constant) {
    const auto made = made_up(DType::Float32, sizes, is_constant, 1);
    float out = 2;
    for (std::int64_t i = 0; i < sizes.numel(); ++i)
      out = std::min(out, element_at<float>(made.data(), i));
    return out;
  };
  EXPECT_GT(least({100}, true), 0);
  EXPECT_LT(least({100}, false), 0);
  EXPECT_LT(least({10, 10}, true), 0);
}

TEST(TrialValues, IntegersAreSmallAndBytesAreAny) {
  for (const std::int64_t i : integers(DType::Int32, made_up(DType::Int32, {100}, false, 1)))
    EXPECT_TRUE(i >= 0 && i <= 2) << i;
  const auto wide = integers(DType::Int8, made_up(DType::Int8, {100}, true, 1));
  EXPECT_GT(*std::ranges::max_element(wide), 50);
  EXPECT_LT(*std::ranges::min_element(wide), -50);
}

TEST(TrialValues, FloatsMayDifferByRounding) {
  EXPECT_FALSE(compare({1000, 0.5f}, {1000.5f, 0}));
  EXPECT_EQ(compare({1000, 2}, {1000, 0}),
            "element 1 of 2 is 2.0 instead of 0.0 (the largest is 1000.0)");
}

TEST(TrialValues, NaNAgreesWithNaNOnly) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(compare({nan, 1}, {nan, 1}));
  EXPECT_TRUE(compare({nan, 1}, {0, 1}));
  EXPECT_TRUE(compare({0, 1}, {nan, 1}));
  EXPECT_FALSE(compare({infinity}, {infinity}));
  EXPECT_TRUE(compare({-infinity}, {infinity}));
  EXPECT_TRUE(compare({1e30f, 1}, {infinity, 1}));
}

TEST(TrialValues, IntegersAreEqualAndQuantizedOnesAStepApart) {
  const auto int8 = [](std::int8_t a, std::int8_t b) {
    return difference(DType::Int8, bytes({a}), bytes({b}), 1);
  };
  EXPECT_FALSE(int8(-3, -4));
  EXPECT_TRUE(int8(-3, -5));
  const auto int32 = bytes<std::int32_t>({7});
  EXPECT_FALSE(difference(DType::Int32, int32, int32, 1));
  EXPECT_TRUE(difference(DType::Int32, int32, bytes<std::int32_t>({8}), 1));
}

TEST(TrialValues, AMissingElementIsADifference) { EXPECT_TRUE(compare({1}, {1, 1})); }

}  // namespace
}  // namespace etwebgpu
