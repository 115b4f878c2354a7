// Names and keys come from files: before a text reaches the host it is made valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace etwebgpu {

// The text with every byte that belongs to no UTF-8 sequence replaced by U+FFFD.
std::string to_utf8(std::string_view text);

}  // namespace etwebgpu
