// Elements as the host has them, and as they are stored on the device: every conversion between the
// two, for constants and for a call's tensors.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/dtype.h"
#include "base/half.h"
#include "base/storage.h"

namespace etwebgpu {

static_assert(std::endian::native == std::endian::little);  // as the device is

// `count` elements of the dtype, stored: floats round to nearest, in f16 finite ones stay finite
// (base/half.h); integers keep their low bits. The rest of the last word becomes 0. Requires
// can_store.
void store_elements(DType from, const std::byte* data, std::int64_t count, Storage to,
                    std::byte* stored);

// The reverse: floats to f16 round to nearest even, integers wrap, as PyTorch's arithmetic does.
void load_elements(Storage from, const std::byte* stored, std::int64_t count, DType to,
                   std::byte* data);

// An integer or bool tensor's elements.
std::vector<std::int64_t> integers(DType from, std::span<const std::byte> data);

// The first element of floats that may not be there, or nothing.
std::optional<double> first_float(DType from, std::span<const std::byte> data);

// --- For loops over elements in another order ---

struct HalfBits {
  std::uint16_t bits;
};
struct BoolByte {
  std::uint8_t byte;
};

// visit(T{}) for the type that an element has on the host.
template <typename Visit>
void visit_type(DType dtype, const Visit& visit) {
  switch (dtype) {
    case DType::Bool:
      return visit(BoolByte{});
    case DType::UInt8:
      return visit(std::uint8_t{});
    case DType::Int8:
      return visit(std::int8_t{});
    case DType::Int32:
      return visit(std::int32_t{});
    case DType::Float16:
      return visit(HalfBits{});
    case DType::Float32:
      return visit(float{});
    case DType::Float64:
      return visit(double{});
    case DType::Int64:
      return visit(std::int64_t{});
  }
}

template <typename T>
T element_at(const std::byte* data, std::int64_t i) {
  T out;
  std::memcpy(&out, data + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return out;
}

// An element as the number that it is.
template <typename T>
auto number_of(T element) {
  if constexpr (std::is_same_v<T, HalfBits>) {
    return half_bits_to_float(element.bits);
  } else if constexpr (std::is_same_v<T, BoolByte>) {
    return static_cast<std::uint8_t>(element.byte != 0);
  } else {
    return element;
  }
}

// The word of an element that is stored in one (word_storage).
template <typename T>
std::uint32_t word_of(T element) {
  const auto number = number_of(element);
  if constexpr (std::is_floating_point_v<decltype(number_of(element))>) {
    return std::bit_cast<std::uint32_t>(static_cast<float>(number));
  } else {
    return static_cast<std::uint32_t>(number);
  }
}

}  // namespace etwebgpu
