#include "plan/trial_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/elements.h"
#include "base/text.h"

namespace etwebgpu {
namespace {

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// Of 1/8 to 1, so that no element is lost among the others.
float random_float(std::uint64_t random, bool positive) {
  const auto magnitude = static_cast<float>(random >> 40) * (0.875f / (1 << 24)) + 0.125f;
  return positive || random % 2 == 0 ? magnitude : -magnitude;
}

template <typename T>
T random_element(T, std::uint64_t random, bool positive) {
  if constexpr (std::is_same_v<T, HalfBits>) {
    return {float_to_half_bits(random_float(random, positive))};
  } else if constexpr (std::is_same_v<T, BoolByte>) {
    return {static_cast<std::uint8_t>(random >> 63)};
  } else if constexpr (std::is_floating_point_v<T>) {
    return random_float(random, positive);
  } else if constexpr (sizeof(T) == 1) {
    return static_cast<T>(random >> 56);
  } else {
    return static_cast<T>((random >> 32) % 3);
  }
}

template <typename T>
std::vector<double> numbers(std::span<const std::byte> data) {
  std::vector<double> out;
  for (std::size_t i = 0; i < data.size() / sizeof(T); ++i)
    out.push_back(
        static_cast<double>(number_of(element_at<T>(data.data(), static_cast<std::int64_t>(i)))));
  return out;
}

bool agree(double a, double b, double allowed) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= allowed;
}

double largest(std::span<const double> values) {
  double out = 0;
  for (const double value : values)
    if (std::isfinite(value)) out = std::max(out, std::abs(value));
  return out;
}

}  // namespace

std::vector<std::byte> made_up(DType dtype, const Dims& sizes, bool is_constant,
                               std::uint64_t seed) {
  std::vector<std::byte> out(static_cast<std::size_t>(sizes.numel()) * byte_size(dtype));
  const bool positive = is_constant && sizes.rank() <= 1;
  visit_type(dtype, [&]<typename T>(T type) {
    for (std::size_t at = 0; at < out.size(); at += sizeof(T)) {
      const T element = random_element(type, next_random(seed), positive);
      std::memcpy(out.data() + at, &element, sizeof element);
    }
  });
  return out;
}

std::optional<std::string> difference(DType dtype, std::span<const std::byte> got,
                                      std::span<const std::byte> wanted, double tolerance) {
  if (got.size() != wanted.size())
    return cat(got.size(), " bytes where there should be ", wanted.size());
  std::vector<double> a, b;
  visit_type(dtype, [&]<typename T>(T) { a = numbers<T>(got), b = numbers<T>(wanted); });
  const double most = largest(b);
  const bool is_quantized = dtype == DType::Int8 || dtype == DType::UInt8;
  const double allowed = is_floating(dtype) ? tolerance * most : is_quantized ? 1 : 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (agree(a[i], b[i], allowed)) continue;
    return cat("element ", i, " of ", a.size(), " is ", a[i], " instead of ", b[i],
               " (the largest is ", most, ")");
  }
  return std::nullopt;
}

}  // namespace etwebgpu
