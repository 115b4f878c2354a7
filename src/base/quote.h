// Text from a file inside an error message: quoted, shortened, and safe to print.
#pragma once

#include <string>
#include <string_view>

namespace etwebgpu {

// 'text' with everything outside printable ASCII as \xNN, cut after 64 bytes.
inline std::string quoted(std::string_view text) {
  constexpr std::size_t kLimit = 64;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (char c : text.substr(0, kLimit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  if (text.size() > kLimit) out += "...";
  out += '\'';
  return out;
}

}  // namespace etwebgpu
