#include "base/text.h"

#include <charconv>

namespace etwebgpu {
namespace {

template <typename Number>
void append_number(std::string& out, Number value) {
  char buffer[40];
  const std::string_view text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  out += text;
  if (std::floating_point<Number> && text.find_first_not_of("-0123456789") == text.npos)
    out += ".0";
}

}  // namespace

void TextPart::append_to(std::string& out) const {
  switch (kind_) {
    case Kind::Text:
      out += text_;
      break;
    case Kind::Signed:
      append_number(out, signed_);
      break;
    case Kind::Unsigned:
      append_number(out, unsigned_);
      break;
    case Kind::Float:
      append_number(out, float_);
      break;
    case Kind::Double:
      append_number(out, double_);
      break;
  }
}

std::string join(std::initializer_list<TextPart> parts) {
  std::string out;
  for (const TextPart& part : parts) part.append_to(out);
  return out;
}

}  // namespace etwebgpu
