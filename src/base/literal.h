// Text that the source spells out, which is kept by reference.
#pragma once

#include <cstddef>
#include <string_view>

namespace etwebgpu {

class Literal {
 public:
  template <std::size_t N>
  consteval Literal(const char (&text)[N]) : text_(text, N - 1) {}
  constexpr operator std::string_view() const { return text_; }
  constexpr std::string_view view() const { return text_; }
  bool operator==(const Literal&) const = default;

 private:
  std::string_view text_;
};

}  // namespace etwebgpu
