// Reading a kernel template line by line.
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>

namespace etwebgpu {

inline std::string_view trim(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

// Takes `text` up to the separator off it, and the separator; all of it where there is none.
inline std::string_view take_until(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return taken;
}

inline bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text = trim(text.substr(prefix.size()));
  return true;
}

// `NAME == VALUE`, `NAME != VALUE`, or `NAME` alone.
struct Condition {
  enum class Kind { Equal, Unequal, Bare };
  Kind kind = Kind::Bare;
  std::string_view name = {}, value = {};
};

inline Condition read_condition(std::string_view text) {
  const auto at = text.find_first_of("!=");
  if (at == std::string_view::npos) return {.name = trim(text)};
  return {.kind = text[at] == '!' ? Condition::Kind::Unequal : Condition::Kind::Equal,
          .name = trim(text.substr(0, at)),
          .value = trim(text.substr(std::min(at + 2, text.size())))};
}

// The counter and the count of `#repeat COUNTER COUNT`.
struct Repeat {
  std::string_view counter = {}, count = {};
};

inline Repeat read_repeat(std::string_view text) {
  Repeat out{.counter = take_until(text, ' ')};
  out.count = trim(text);
  return out;
}

// What follows "#param": NAME [= DEFAULT] [: VALUE | VALUE ...] [// what it is].
struct Declaration {
  std::string_view name = {}, allowed = {};
  std::optional<std::string_view> fallback = {};
};

inline Declaration read_declaration(std::string_view text) {
  text = text.substr(0, text.find("//"));
  std::string_view head = take_until(text, ':');
  Declaration out{.allowed = trim(text)};
  const bool has_default = head.find('=') != std::string_view::npos;
  out.name = trim(take_until(head, '='));
  if (has_default) out.fallback = trim(head);
  return out;
}

// The template of `#include "NAME.wgsl"`, or of `#include ${NAME}` the parameter that names it.
struct Include {
  std::string_view name = {};
  bool is_parameter = false;
};

inline Include read_include(std::string_view text) {
  if (take_prefix(text, "${")) return {take_until(text, '}'), true};
  text.remove_prefix(text.starts_with('"') ? 1 : 0);
  return {text.substr(0, text.find(".wgsl"))};
}

// The letters, digits and underscores that text begins with.
inline std::string_view leading_name(std::string_view text) {
  const auto is_part = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return text.substr(
      0, static_cast<std::size_t>(std::ranges::find_if_not(text, is_part) - text.begin()));
}

inline bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace etwebgpu
