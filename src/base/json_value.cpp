#include "base/json_value.h"

#include <charconv>
#include <cstdlib>
#include <string>

namespace etwebgpu {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Json> document() {
    TRY_ASSIGN(Json value, parse_value(0));
    skip_spaces();
    CHECK_OR_FAIL(at_ == text_.size(), ErrorKind::InvalidArgument,
                  "JSON: unexpected text at offset ", at_);
    return value;
  }

 private:
  static constexpr int kMaxDepth = 32;

  void skip_spaces() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").contains(text_[at_])) ++at_;
  }
  bool take(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }
  bool take_after_spaces(std::string_view expected) {
    skip_spaces();
    return take(expected);
  }
  std::unexpected<Error> unexpected_here(std::string_view wanted) const {
    return fail(ErrorKind::InvalidArgument, "JSON: ", wanted, " expected at offset ", at_);
  }

  Result<Json> parse_value(int depth) {
    CHECK_OR_FAIL(depth < kMaxDepth, ErrorKind::InvalidArgument, "JSON: nested deeper than ",
                  kMaxDepth);
    skip_spaces();
    if (take("null")) return Json();
    if (take("true")) return Json(true);
    if (take("false")) return Json(false);
    if (take("[")) return parse_array(depth);
    if (take("{")) return parse_object(depth);
    if (at_ < text_.size() && text_[at_] == '"') {
      TRY_ASSIGN(std::string text, parse_string());
      return Json(std::move(text));
    }
    return parse_number();
  }

  Result<Json> parse_array(int depth) {
    Json::Array items;
    if (take_after_spaces("]")) return Json(std::move(items));
    do {
      TRY_ASSIGN(Json item, parse_value(depth + 1));
      items.push_back(std::move(item));
    } while (take_after_spaces(","));
    if (!take_after_spaces("]")) return unexpected_here("']'");
    return Json(std::move(items));
  }

  Result<Json> parse_object(int depth) {
    Json::Object members;
    if (take_after_spaces("}")) return Json(std::move(members));
    do {
      skip_spaces();
      TRY_ASSIGN(std::string key, parse_string());
      if (!take_after_spaces(":")) return unexpected_here("':'");
      TRY_ASSIGN(Json item, parse_value(depth + 1));
      members.emplace_back(std::move(key), std::move(item));
    } while (take_after_spaces(","));
    if (!take_after_spaces("}")) return unexpected_here("'}'");
    return Json(std::move(members));
  }

  Result<std::string> parse_string() {
    if (!take("\"")) return unexpected_here("a string");
    std::string out;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] != '\\') {
        out += text_[at_++];
        continue;
      }
      ++at_;
      TRY(parse_escape(out));
    }
    if (!take("\"")) return unexpected_here("'\"'");
    return out;
  }

  Result<void> parse_escape(std::string& out) {
    constexpr std::string_view kShort = "\"\\/bfnrt";
    constexpr std::string_view kMeaning = "\"\\/\b\f\n\r\t";
    if (at_ >= text_.size()) return unexpected_here("an escape");
    if (const auto i = kShort.find(text_[at_]); i != kShort.npos) {
      out += kMeaning[i];
      ++at_;
      return {};
    }
    std::uint32_t code = 0;
    const char* first = text_.data() + at_ + 1;
    if (text_[at_] != 'u' || text_.size() - at_ < 5 ||
        std::from_chars(first, first + 4, code, 16).ptr != first + 4 ||
        (code >= 0xd800 && code < 0xe000)) {  // option texts need no characters past U+FFFF
      return unexpected_here("an escape");
    }
    at_ += 5;
    append_utf8(out, code);
    return {};
  }

  static void append_utf8(std::string& out, std::uint32_t code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      out += static_cast<char>(0xe0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
      out += static_cast<char>(0x80 | (code & 0x3f));
    }
  }

  // Where the real number at `first` ends, or null for none.
  static const char* read_real(const char* first, const char* last, double& number) {
#ifdef __cpp_lib_to_chars
    const auto [end, error] = std::from_chars(first, last, number);
    return error == std::errc() ? end : nullptr;
#else  // libc++, for wasm: where there is no locale but C's
    const std::string text(first, last);
    char* end = nullptr;
    number = std::strtod(text.c_str(), &end);
    return end == text.c_str() ? nullptr : first + (end - text.c_str());
#endif
  }

  Result<Json> parse_number() {
    const char* first = text_.data() + at_;
    const char* last = text_.data() + text_.size();
    std::int64_t integer = 0;
    double number = 0;
    const auto whole = std::from_chars(first, last, integer);
    const char* const end = read_real(first, last, number);
    if (end == nullptr) return unexpected_here("a value");
    at_ += static_cast<std::size_t>(end - first);
    if (whole.ec == std::errc() && whole.ptr == end) return Json(integer);
    return Json(number);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
  const auto* members = std::get_if<Object>(&value_);
  if (members == nullptr) return nullptr;
  for (const auto& [name, item] : *members) {
    if (name == key) return &item;
  }
  return nullptr;
}

Result<Json> Json::parse(std::string_view text) { return Parser(text).document(); }

}  // namespace etwebgpu
