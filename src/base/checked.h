// Arithmetic on sizes that come from a file: overflow is an answer, not an accident.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace etwebgpu {

template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// True if [offset, offset + length) lies inside [0, size), without overflowing.
inline bool range_fits(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

template <std::integral T>
constexpr T div_up(T a, T b) {
  return static_cast<T>(a / b + (a % b != 0 ? 1 : 0));
}

template <std::integral T>
constexpr T round_up(T a, T b) {
  return div_up(a, b) * b;
}

}  // namespace etwebgpu
