// A file that is read from its beginning: the rest may be elsewhere, on a server or not yet
// fetched, and may be larger than memory.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/checked.h"
#include "base/result.h"

namespace etwebgpu {

// Where bytes are in a file.
struct FilePart {
  std::uint64_t offset = 0, size = 0;
  bool operator==(const FilePart&) const = default;
};

struct FileHead {
  FileHead() = default;
  // A whole file is a head, too.
  template <std::convertible_to<std::span<const std::byte>> Bytes>
  FileHead(const Bytes& whole)  // NOLINT(google-explicit-constructor)
      : bytes(whole), size(bytes.size()) {}
  FileHead(std::span<const std::byte> head, std::uint64_t file_size)
      : bytes(head), size(file_size) {}

  // The first `count` bytes of the file, which has them.
  Result<std::span<const std::byte>> first(std::uint64_t count, std::string_view what) const {
    CHECK_OR_FAIL(count <= bytes.size(), ErrorKind::InvalidArgument, what, " takes the first ",
                  count, " bytes of the file, but only ", bytes.size(), " were given");
    return bytes.first(static_cast<std::size_t>(count));
  }
  // A part of the file, or nothing if it is not in memory.
  std::span<const std::byte> part(const FilePart& part) const {
    if (!range_fits(part.offset, part.size, bytes.size())) return {};
    return bytes.subspan(static_cast<std::size_t>(part.offset),
                         static_cast<std::size_t>(part.size));
  }

  std::span<const std::byte> bytes;
  std::uint64_t size = 0;  // of the file
};

}  // namespace etwebgpu
