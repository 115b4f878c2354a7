#include "base/elements.h"

namespace etwebgpu {
namespace {

// How a storage has an element. Bytes' sign makes no difference to their bits.
template <typename Visit>
void visit_type(Storage storage, const Visit& visit) {
  switch (storage) {
    case Storage::F32:
      return visit(float{});
    case Storage::I32:
      return visit(std::int32_t{});
    case Storage::I64:
      return visit(std::int64_t{});
    case Storage::HalfPairs:
      return visit(HalfBits{});
    case Storage::Bytes:
      return visit(std::uint8_t{});
  }
}

template <typename T>
constexpr bool kIsFloat = std::is_floating_point_v<decltype(number_of(T{}))>;

// `half` makes an f16 of a float.
template <typename To, typename From>
To converted(From element, std::uint16_t (*half)(float)) {
  const auto number = number_of(element);
  if constexpr (std::is_same_v<To, HalfBits>) {
    return {half(static_cast<float>(number))};
  } else if constexpr (std::is_same_v<To, BoolByte>) {
    return {static_cast<std::uint8_t>(number != 0)};
  } else {
    return static_cast<To>(number);
  }
}

template <typename From, typename To>
void convert(const std::byte* from, std::int64_t count, std::byte* to,
             std::uint16_t (*half)(float)) {
  // can_store lets no other pair through.
  if constexpr (kIsFloat<From> == kIsFloat<To>) {
    for (std::int64_t i = 0; i < count; ++i) {
      const To element = converted<To>(element_at<From>(from, i), half);
      std::memcpy(to + i * static_cast<std::int64_t>(sizeof(To)), &element, sizeof(To));
    }
  }
}

}  // namespace

void store_elements(DType from, const std::byte* data, std::int64_t count, Storage to,
                    std::byte* stored) {
  const std::uint64_t bytes = element_bytes(to) * static_cast<std::uint64_t>(count);
  std::memset(stored + bytes, 0, storage_bytes(to, count) - bytes);
  if (is_stored_as_is(to, from)) {
    if (bytes > 0) std::memcpy(stored, data, bytes);
    return;
  }
  visit_type(from, [&]<typename From>(From) {
    visit_type(to, [&]<typename To>(To) {
      convert<From, To>(data, count, stored, float_to_kept_half_bits);
    });
  });
}

void load_elements(Storage from, const std::byte* stored, std::int64_t count, DType to,
                   std::byte* data) {
  if (is_stored_as_is(from, to)) {
    const std::uint64_t bytes = element_bytes(from) * static_cast<std::uint64_t>(count);
    if (bytes > 0) std::memcpy(data, stored, bytes);
    return;
  }
  visit_type(from, [&]<typename From>(From) {
    visit_type(
        to, [&]<typename To>(To) { convert<From, To>(stored, count, data, float_to_half_bits); });
  });
}

std::vector<std::int64_t> integers(DType from, std::span<const std::byte> data) {
  std::vector<std::int64_t> out(data.size() / byte_size(from));
  visit_type(from, [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i)
      // The plus makes an int of a character.
      out[i] = static_cast<std::int64_t>(
          +number_of(element_at<T>(data.data(), static_cast<std::int64_t>(i))));
  });
  return out;
}

std::optional<double> first_float(DType from, std::span<const std::byte> data) {
  if (!is_floating(from) || data.size() < byte_size(from)) return std::nullopt;
  double out = 0;
  visit_type(from, [&]<typename T>(T) {
    out = static_cast<double>(number_of(element_at<T>(data.data(), 0)));
  });
  return out;
}

}  // namespace etwebgpu
