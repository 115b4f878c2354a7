// Element types as the delegate format and the host know them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace etwebgpu {

enum class DType : std::uint8_t { Bool, UInt8, Int8, Int32, Float16, Float32, Float64, Int64 };

inline constexpr std::size_t kDTypeCount = 8;

constexpr std::size_t byte_size(DType dtype) {
  constexpr std::size_t sizes[kDTypeCount] = {1, 1, 1, 4, 2, 4, 8, 8};
  return sizes[static_cast<std::size_t>(dtype)];
}

constexpr std::string_view name(DType dtype) {
  constexpr std::string_view names[kDTypeCount] = {"bool",    "uint8",   "int8",    "int32",
                                                   "float16", "float32", "float64", "int64"};
  return names[static_cast<std::size_t>(dtype)];
}

constexpr std::optional<DType> dtype_named(std::string_view text) {
  for (std::size_t i = 0; i < kDTypeCount; ++i)
    if (name(static_cast<DType>(i)) == text) return static_cast<DType>(i);
  return std::nullopt;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::Float16 || dtype == DType::Float32 || dtype == DType::Float64;
}

// True if a host tensor may stand for a tensor recorded with `device`: the same dtype, int64 for
// int32 (and the reverse), or another floating width.
constexpr bool convertible(DType host, DType device) {
  constexpr auto is_index = [](DType d) { return d == DType::Int32 || d == DType::Int64; };
  return host == device || (is_floating(host) && is_floating(device)) ||
         (is_index(host) && is_index(device));
}

}  // namespace etwebgpu
