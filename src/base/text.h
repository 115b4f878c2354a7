// Small text helpers: concatenation without iostreams, exceptions or locales.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace etwebgpu {

template <typename T>
void append(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out += value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, char>) {
    out += value;
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    out += std::string_view(value);
  } else if constexpr (std::is_enum_v<T>) {
    append(out, static_cast<std::int64_t>(value));
  } else if constexpr (std::integral<T>) {
    char buffer[24];
    const char* end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    out += std::string_view(buffer, end);
  } else {
    static_assert(std::floating_point<T>, "append: no text form for this type");
    // The shortest text that gives the same number back, and a float literal in WGSL too.
    char buffer[40];
    const std::string_view text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
    out += text;
    if (text.find_first_not_of("-0123456789") == text.npos) out += ".0";
  }
}

// Concatenates strings, numbers and booleans: cat("dim ", 3, " is out of range").
template <typename... Ts>
std::string cat(const Ts&... parts) {
  std::string out;
  (append(out, parts), ...);
  return out;
}

}  // namespace etwebgpu
