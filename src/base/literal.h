// Text that lives as long as the program and is kept by reference: mostly what the source spells
// out.
#pragma once

#include <cstddef>
#include <string_view>

namespace etwebgpu {

class Literal {
 public:
  template <std::size_t N>
  consteval Literal(const char (&text)[N]) : text_(text, N - 1) {}
  // Of text that is never freed.
  static constexpr Literal kept(std::string_view text) {
    Literal out("");
    out.text_ = text;
    return out;
  }
  constexpr operator std::string_view() const { return text_; }
  constexpr std::string_view view() const { return text_; }
  bool operator==(const Literal&) const = default;

 private:
  std::string_view text_;
};

}  // namespace etwebgpu
