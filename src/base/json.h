// A small JSON writer: commas and escapes are its business, structure the caller's.
//   JsonWriter json;
//   json.begin_object().key("name").value("add").key("sizes").value(dims).end_object();
#pragma once

#include <concepts>
#include <cstdint>
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

  JsonWriter& key(std::string_view name);
  JsonWriter& null() { return raw("null"); }

  template <typename T>
  JsonWriter& value(const T& v) {
    if constexpr (std::is_same_v<T, bool>) {
      return raw(v ? "true" : "false");
    } else if constexpr (std::is_same_v<T, Dims>) {
      return dims(v);
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return string(v);
    } else if constexpr (std::signed_integral<T>) {
      return number(std::int64_t{v});
    } else if constexpr (std::unsigned_integral<T>) {
      return number(std::uint64_t{v});
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
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  JsonWriter& raw(std::string_view token);
  JsonWriter& string(std::string_view v);
  JsonWriter& dims(const Dims& v);
  template <typename T>  // a 64-bit integer, float or double
  JsonWriter& number(T v);
  void separate();

  std::string text_;
  bool needs_comma_ = false;
};

// A member that is a list: `write` adds each item to it.
template <typename Items, typename Write>
void write_array(JsonWriter& json, std::string_view name, const Items& items, Write write) {
  json.key(name).begin_array();
  for (const auto& item : items) write(item);
  json.end_array();
}

}  // namespace etwebgpu
