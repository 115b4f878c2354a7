// Whether bytes are all zero, as first contents of states are.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace etwebgpu {

inline bool all_zero(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes[0] != std::byte{0}) return bytes.empty();
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace etwebgpu
