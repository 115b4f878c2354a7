#include "base/json.h"

#include <charconv>
#include <cmath>

namespace etwebgpu {

JsonWriter& JsonWriter::key(std::string_view name) {
  string(name);
  text_ += ':';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  text_ += bracket;
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  text_ += bracket;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view token) {
  separate();
  text_ += token;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::string(std::string_view v) {
  separate();
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
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::dims(const Dims& v) {
  begin_array();
  for (const std::int64_t extent : v) number(extent);
  return end_array();
}

template <typename T>
JsonWriter& JsonWriter::number(T v) {
  if constexpr (std::floating_point<T>) {
    if (!std::isfinite(v)) return null();  // JSON has no infinity
  }
  char buffer[40];
  return raw(std::string_view(buffer, std::to_chars(buffer, buffer + sizeof buffer, v).ptr));
}
template JsonWriter& JsonWriter::number(std::int64_t);
template JsonWriter& JsonWriter::number(std::uint64_t);
template JsonWriter& JsonWriter::number(float);
template JsonWriter& JsonWriter::number(double);

void JsonWriter::separate() {
  if (needs_comma_) text_ += ',';
}

}  // namespace etwebgpu
