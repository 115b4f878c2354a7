// What exports give back: text or bytes that stay until the next such call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"

#ifdef __wasm__
#define EXPORT(name) __attribute__((export_name(#name)))
#else  // tests compare the two builds
#define EXPORT(name) __attribute__((visibility("default")))
#endif

namespace etwebgpu::wasm {

inline std::string result;

// The text, or the error's sentence and false.
template <typename T>
bool keep(Result<T> text) {
  const bool worked = text.has_value();
  result = worked ? *std::move(text) : std::move(text.error().message);
  return worked;
}

// The caller's from now on; null and the error's sentence where there is none.
template <typename T>
T* keep_handle(Result<std::unique_ptr<T>> made) {
  if (made) return made->release();
  result = std::move(made.error().message);
  return nullptr;
}

inline void keep_bytes(std::span<const std::byte> bytes) {
  result.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::uint32_t size) {
  return std::as_bytes(std::span(data, size));
}

}  // namespace etwebgpu::wasm
