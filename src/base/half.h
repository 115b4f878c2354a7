// Conversions between IEEE binary16 bit patterns and float.
#pragma once

#include <bit>
#include <cstdint>

namespace etwebgpu {

// Exact: every f16, NaN payloads included, is a float.
constexpr float half_bits_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u)  // infinity or NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // The exponent is rebased by a multiplication, which also normalizes subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * std::bit_cast<float>(0x77800000u);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

// Rounds to nearest even; values past the largest f16 become infinity.
constexpr std::uint16_t float_to_half_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);  // NaN
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded steps in the low bits
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  const std::uint32_t odd = magnitude >> 13 & 1u;
  return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

// For tensors that are kept in f16 though the program has them in f32: finite values past the
// largest f16 become that one, as where kernels store them (kernels/half.wgsl).
constexpr std::uint16_t float_to_kept_half_bits(float value) {
  const std::uint16_t half = float_to_half_bits(value);
  const bool infinite = (std::bit_cast<std::uint32_t>(value) & 0x7fffffffu) == 0x7f800000u;
  const bool overflowed = (half & 0x7fffu) == 0x7c00u && !infinite;
  return static_cast<std::uint16_t>(overflowed ? half - 1 : half);
}

}  // namespace etwebgpu
