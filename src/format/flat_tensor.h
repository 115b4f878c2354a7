// A tensor data file (.ptd): bytes by key, kept outside the program. The file's bytes must outlive
// it.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace etwebgpu {

class FlatTensorFile {
 public:
  // Verifies the header (magic FH01), the flatbuffer (identifier FT01) and every segment.
  static Result<FlatTensorFile> read(std::span<const std::byte> file);

  // Bytes stored under a key, or nothing.
  std::optional<std::span<const std::byte>> data(std::string_view key) const;
  using Entries = std::map<std::string, std::span<const std::byte>, std::less<>>;
  const Entries& entries() const { return entries_; }

 private:
  Entries entries_;
};

}  // namespace etwebgpu
