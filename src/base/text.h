// Small text helpers: concatenation without iostreams, exceptions or locales.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace etwebgpu {

// A string, number, enumerator or bool on its way into a text. All have this one type, so that one
// function writes them: a template over a text's parts would be compiled for each of a thousand.
class TextPart {
 public:
  template <typename T>
  TextPart(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      set(value ? "true" : "false");
    } else if constexpr (std::is_same_v<T, char>) {
      set(std::string_view(&value, 1));
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      set(value);
    } else if constexpr (std::is_same_v<T, float>) {
      kind_ = Kind::Float, float_ = value;
    } else if constexpr (std::is_same_v<T, double>) {
      kind_ = Kind::Double, double_ = value;
    } else if constexpr (std::unsigned_integral<T>) {
      kind_ = Kind::Unsigned, unsigned_ = value;
    } else {
      static_assert(std::integral<T> || std::is_enum_v<T>, "TextPart: no text form for this type");
      kind_ = Kind::Signed, signed_ = static_cast<std::int64_t>(value);
    }
  }

  // Floating numbers as the shortest text that gives the same number back, a float literal in WGSL
  // too.
  void append_to(std::string& out) const;

 private:
  enum class Kind : std::uint8_t { Text, Signed, Unsigned, Float, Double };
  void set(std::string_view text) { kind_ = Kind::Text, text_ = text; }

  Kind kind_;
  union {
    std::string_view text_;
    std::int64_t signed_;
    std::uint64_t unsigned_;
    float float_;
    double double_;
  };
};

std::string join(std::initializer_list<TextPart> parts);

// Concatenates strings, numbers and booleans: cat("dim ", 3, " is out of range").
template <typename... Ts>
std::string cat(const Ts&... parts) {
  return join({TextPart(parts)...});
}

}  // namespace etwebgpu
