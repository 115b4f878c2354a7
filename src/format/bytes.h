// Reading little-endian fields and flatbuffers out of bytes that nobody has checked yet.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "base/quote.h"
#include "base/result.h"

namespace etwebgpu::format {

using Bytes = std::span<const std::byte>;

// Little-endian integer at `offset`, which must lie inside `bytes`.
template <typename T>
T load(Bytes bytes, std::size_t offset) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(std::to_integer<T>(bytes[offset + i]) << (8 * i));
  }
  return value;
}

inline std::string_view text_at(Bytes bytes, std::size_t offset, std::size_t length) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, length};
}

// Text of an optional string field; "" if it is absent.
inline std::string_view view(const flatbuffers::String* text) {
  return text == nullptr ? std::string_view() : std::string_view(text->c_str(), text->size());
}

template <typename Vector>
std::size_t size_of(const Vector* items) {
  return items == nullptr ? 0 : items->size();
}

// Element of a scalar vector. The verifier does not check that elements wider than the length field
// are aligned, so they are read bytewise.
template <typename T>
T element(const flatbuffers::Vector<T>& items, std::size_t i) {
  T value;
  std::memcpy(&value, items.Data() + i * sizeof(T), sizeof(T));
  return flatbuffers::EndianScalar(value);
}

// A flatbuffer can name one vector or string many times, so decoding may need far more memory than
// the file has bytes. Decoders pay for what they copy out of a budget that is proportional to the
// file.
class CopyBudget {
 public:
  explicit CopyBudget(std::size_t buffer_bytes) : left_(16 * buffer_bytes) {}
  bool spend(std::size_t count, std::size_t each) {
    if (count > left_ / each) return false;
    left_ -= count * each;
    return true;
  }

 private:
  std::uint64_t left_;
};

// Whether a flatbuffer of this kind begins with these bytes.
inline Result<void> check_identifier(Bytes bytes, std::string_view identifier,
                                     std::string_view what) {
  constexpr std::size_t kMinSize = 8;  // root offset and identifier
  CHECK_OR_FAIL(bytes.size() >= kMinSize, ErrorKind::InvalidProgram, what, ": ", bytes.size(),
                " bytes are too few for a flatbuffer");
  const std::string_view found = text_at(bytes, 4, 4);
  CHECK_OR_FAIL(found == identifier, ErrorKind::InvalidProgram, what,
                ": the flatbuffer identifier is ", quoted(found), ", expected '", identifier, "'");
  return {};
}

// A verified flatbuffer with root table Root. Misaligned input is copied first: flatbuffers reads
// through plain pointers.
template <typename Root>
class FlatBuffer {
 public:
  static Result<FlatBuffer> open(Bytes bytes, const char* identifier, std::string_view what) {
    TRY(check_identifier(bytes, identifier, what));
    CHECK_OR_FAIL(bytes.size() < FLATBUFFERS_MAX_BUFFER_SIZE, ErrorKind::InvalidProgram, what, ": ",
                  bytes.size(), " bytes are more than a flatbuffer can have");

    FlatBuffer out;
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    if (reinterpret_cast<std::uintptr_t>(data) % alignof(std::uint64_t) != 0) {
      out.copy_ = std::make_unique_for_overwrite<std::uint64_t[]>(bytes.size() / 8 + 1);
      std::memcpy(out.copy_.get(), data, bytes.size());
      data = reinterpret_cast<const std::uint8_t*>(out.copy_.get());
    }
    flatbuffers::Verifier::Options limits;
    limits.max_depth = 16;
    // A table and the reference to it take 8 bytes; more tables than that are repeated visits of
    // the same.
    limits.max_tables = static_cast<flatbuffers::uoffset_t>(bytes.size() / 8 + 1);
    flatbuffers::Verifier verifier(data, bytes.size(), limits);
    CHECK_OR_FAIL(
        verifier.VerifyBuffer<Root>(nullptr), ErrorKind::InvalidProgram, what,
        ": the flatbuffer of ", bytes.size(),
        " bytes is malformed: a table, vector or string points outside it, or tables repeat");
    out.begin_ = data;
    out.size_ = bytes.size();
    return out;
  }

  const Root& root() const { return *flatbuffers::GetRoot<Root>(begin_); }
  std::size_t size() const { return size_; }
  // Offset of a position inside the buffer: where the bytes are in the file.
  std::size_t offset_of(const std::uint8_t* position) const {
    return static_cast<std::size_t>(position - begin_);
  }

 private:
  std::unique_ptr<std::uint64_t[]> copy_;
  const std::uint8_t* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace etwebgpu::format
