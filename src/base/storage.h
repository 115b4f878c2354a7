// How a tensor's elements lie in device memory.
#pragma once

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
};

constexpr std::string_view name(Storage storage) {
  constexpr std::string_view names[] = {"f32", "i32", "i64", "half-pairs"};
  return names[static_cast<std::size_t>(storage)];
}

// Bytes of so many elements, whole words. Here and only here is known what an element takes.
constexpr std::uint64_t storage_bytes(Storage storage, std::int64_t count) {
  constexpr std::uint64_t kWord = 4;
  const auto elements = static_cast<std::uint64_t>(count);
  switch (storage) {
    case Storage::I64:
      return 2 * kWord * elements;
    case Storage::HalfPairs:
      return kWord * div_up<std::uint64_t>(elements, 2);
    default:
      return kWord * elements;
  }
}

// A word for each element: what every operator takes.
constexpr Storage word_storage(DType dtype) {
  return is_floating(dtype) ? Storage::F32 : Storage::I32;
}

}  // namespace etwebgpu
