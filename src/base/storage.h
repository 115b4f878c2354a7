// How a tensor's elements lie in device memory. Here and only here is known what an element takes
// and which dtypes may be stored how; elements.h converts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/checked.h"
#include "base/dtype.h"

namespace etwebgpu {

enum class Storage : std::uint8_t {
  F32,        // a word each
  I32,        // a word each: integers, and bool as 0 or 1
  I64,        // two words each, the low one first
  HalfPairs,  // two f16 a word, the first lowest
  Bytes,      // four 8-bit integers a word, the first lowest: signed, unsigned or bool by dtype
};

// Bindings and copies are made of whole words.
inline constexpr std::uint64_t kWord = 4;

constexpr std::string_view name(Storage storage) {
  constexpr std::string_view names[] = {"f32", "i32", "i64", "half-pairs", "bytes"};
  return names[static_cast<std::size_t>(storage)];
}

constexpr std::uint64_t element_bytes(Storage storage) {
  constexpr std::uint64_t bytes[] = {4, 4, 8, 2, 1};
  return bytes[static_cast<std::size_t>(storage)];
}

// Bytes of so many elements, whole words.
constexpr std::uint64_t storage_bytes(Storage storage, std::int64_t count) {
  return round_up(element_bytes(storage) * static_cast<std::uint64_t>(count), kWord);
}

// The most elements that so many bytes have room for.
constexpr std::int64_t storage_elements(Storage storage, std::uint64_t bytes) {
  return static_cast<std::int64_t>(bytes / kWord * kWord / element_bytes(storage));
}

// A word for each element: what every operator takes.
constexpr Storage word_storage(DType dtype) {
  return is_floating(dtype) ? Storage::F32 : Storage::I32;
}

// True if elements of that dtype may be stored so.
constexpr bool can_store(Storage storage, DType dtype) {
  switch (storage) {
    case Storage::F32:
    case Storage::HalfPairs:
      return is_floating(dtype);
    case Storage::I32:
      return !is_floating(dtype);
    case Storage::I64:
      return dtype == DType::Int32 || dtype == DType::Int64;
    case Storage::Bytes:
      return byte_size(dtype) == 1;
  }
  return false;
}

// True if the host's bytes are the stored ones as they are. Any other than 0 in a bool is 1 there.
constexpr bool is_stored_as_is(Storage storage, DType dtype) {
  return can_store(storage, dtype) && byte_size(dtype) == element_bytes(storage) &&
         dtype != DType::Bool;
}

}  // namespace etwebgpu
