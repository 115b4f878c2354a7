// A parsed JSON text: small option texts, and what a device offers. (base/json.h writes JSON.)
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace etwebgpu {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  template <typename T>
    requires(!std::same_as<T, Json>)
  explicit Json(T value) : value_(std::move(value)) {}

  // The value as that kind, or null.
  const std::string* text() const { return std::get_if<std::string>(&value_); }
  const bool* flag() const { return std::get_if<bool>(&value_); }
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&value_); }
  const Array* items() const { return std::get_if<Array>(&value_); }
  const Object* members() const { return std::get_if<Object>(&value_); }
  // The member of that name, or null for none and for other kinds of value.
  const Json* find(std::string_view key) const;

  // Fails on malformed text, on nesting deeper than 32 and on anything after the value.
  static Result<Json> parse(std::string_view text);

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

}  // namespace etwebgpu
