// A small JSON writer: commas and escapes are its business, structure the caller's.
//   JsonWriter json;
//   json.begin_object().key("name").value("add").key("sizes").value(dims).end_object();
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/dims.h"

namespace etwebgpu {

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }

  JsonWriter& key(std::string_view name) {
    value(name);
    text_ += ':';
    needs_comma_ = false;
    return *this;
  }

  JsonWriter& null() { return raw("null"); }

  template <typename T>
  JsonWriter& value(const T& v) {
    if constexpr (std::is_same_v<T, bool>) {
      return raw(v ? "true" : "false");
    } else if constexpr (std::is_same_v<T, Dims>) {
      begin_array();
      for (std::int64_t extent : v) value(extent);
      return end_array();
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      separate();
      quote(std::string_view(v));
      needs_comma_ = true;
      return *this;
    } else {
      return number(v);
    }
  }

  template <typename T>
  JsonWriter& member(std::string_view name, const T& v) {
    return key(name).value(v);
  }

  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  JsonWriter& open(char bracket) {
    separate();
    text_ += bracket;
    needs_comma_ = false;
    return *this;
  }
  JsonWriter& close(char bracket) {
    text_ += bracket;
    needs_comma_ = true;
    return *this;
  }
  JsonWriter& raw(std::string_view token) {
    separate();
    text_ += token;
    needs_comma_ = true;
    return *this;
  }
  template <typename T>
  JsonWriter& number(T v) {
    if constexpr (std::floating_point<T>) {
      if (!std::isfinite(v)) return null();  // JSON has no infinity
    }
    char buffer[40];
    return raw(std::string_view(buffer, std::to_chars(buffer, buffer + sizeof buffer, v).ptr));
  }
  void separate() {
    if (needs_comma_) text_ += ',';
  }
  void quote(std::string_view v) {
    text_ += '"';
    for (char c : v) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        text_ += '\\';
        text_ += c;
      } else if (byte < 0x20) {
        constexpr char digits[] = "0123456789abcdef";
        text_ += "\\u00";
        text_ += digits[byte >> 4];
        text_ += digits[byte & 15];
      } else {
        text_ += c;
      }
    }
    text_ += '"';
  }

  std::string text_;
  bool needs_comma_ = false;
};

}  // namespace etwebgpu
