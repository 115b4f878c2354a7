// A tensor data file (.ptd): bytes by key, kept outside the program. Of the file only the
// beginning is read, which must outlive it.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "format/file.h"

namespace etwebgpu {

class FlatTensorFile {
 public:
  // Verifies the header (magic FH01), the flatbuffer (identifier FT01) and every segment.
  static Result<FlatTensorFile> read(const FileHead& file);
  // How many bytes of the file's beginning read() needs, found in the first kHeaderBytes of them.
  static Result<std::uint64_t> head_size(const FileHead& file);
  static constexpr std::size_t kHeaderBytes = 48;

  // Bytes stored under a key, or nothing. The file must be in memory as a whole.
  std::optional<std::span<const std::byte>> data(std::string_view key) const;
  using Entries = std::map<std::string, FilePart, std::less<>>;
  const Entries& entries() const { return entries_; }

 private:
  FileHead file_;
  Entries entries_;
};

}  // namespace etwebgpu
