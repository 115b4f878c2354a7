#include "format/flat_tensor.h"

#include <flat_tensor_generated.h>

#include "format/segments.h"

namespace etwebgpu {
namespace {

using format::Bytes;
constexpr ErrorKind kInvalid = ErrorKind::InvalidProgram;

struct Header {
  std::uint64_t flatbuffer_size;  // from the start of the file, the header inside it included
  std::uint64_t segment_base;
};

// The header lies inside the flatbuffer, behind root offset and identifier: magic at 8, its own
// size u32, then flatbuffer offset and size, segment base and segment bytes, u64 each.
Result<Header> read_header(const FileHead& head) {
  constexpr std::size_t kEnd = FlatTensorFile::kHeaderBytes;
  const Bytes file = head.bytes;
  CHECK_OR_FAIL(file.size() >= kEnd, kInvalid, file.size(), " bytes are too few for the header");
  CHECK_OR_FAIL(format::text_at(file, 4, 4) != "ET12", kInvalid, "it is a program (.pte)");
  const std::string_view magic = format::text_at(file, 8, 4);
  CHECK_OR_FAIL(magic == "FH01", kInvalid, "the magic bytes are ", quoted(magic),
                ", expected 'FH01'");
  const auto length = format::load<std::uint32_t>(file, 12);
  const auto offset = format::load<std::uint64_t>(file, 16);
  const auto size = format::load<std::uint64_t>(file, 24);
  const auto base = format::load<std::uint64_t>(file, 32);
  const auto segment_bytes = format::load<std::uint64_t>(file, 40);
  CHECK_OR_FAIL(length >= kEnd - 8, kInvalid, "header size ", length, " is below ", kEnd - 8);
  CHECK_OR_FAIL(range_fits(offset, size, head.size), kInvalid, "the flatbuffer at offset ", offset,
                " with ", size, " bytes does not fit into the file of ", head.size, " bytes");
  CHECK_OR_FAIL(range_fits(base, segment_bytes, head.size), kInvalid, segment_bytes,
                " bytes of data at offset ", base, " do not fit into the file of ", head.size,
                " bytes (is it truncated?)");
  return Header{offset + size, base};
}

Result<FlatTensorFile::Entries> read_entries(const FileHead& file) {
  TRY_ASSIGN(const Header header, read_header(file));
  TRY_ASSIGN(const Bytes directory, file.first(header.flatbuffer_size, "the directory"));
  TRY_ASSIGN(const auto buffer, format::FlatBuffer<flat_tensor_flatbuffer::FlatTensor>::open(
                                    directory, "FT01", "directory"));
  format::CopyBudget budget(buffer.size());
  return format::named_segments({file.size, header.segment_base}, buffer.root().segments(),
                                buffer.root().named_data(), budget);
}

}  // namespace

Result<std::uint64_t> FlatTensorFile::head_size(const FileHead& file) {
  auto header = read_header(file);
  if (!header) return std::unexpected(std::move(header).error().within("tensor data file"));
  return header->flatbuffer_size;
}

Result<FlatTensorFile> FlatTensorFile::read(const FileHead& file) {
  auto entries = read_entries(file);
  if (!entries) return std::unexpected(std::move(entries).error().within("tensor data file"));
  FlatTensorFile out;
  out.file_ = file;
  out.entries_ = *std::move(entries);
  return out;
}

std::optional<std::span<const std::byte>> FlatTensorFile::data(std::string_view key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  return file_.part(found->second);
}

}  // namespace etwebgpu
