#include "webgpu/host_tensor.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace etwebgpu {

namespace {

template <typename T>
T load(std::span<const std::byte> data, std::size_t index) {
  T out;
  std::memcpy(&out, data.data() + index * sizeof(T), sizeof(T));
  return out;
}

template <typename T>
void store(std::span<std::byte> data, std::size_t index, T value) {
  std::memcpy(data.data() + index * sizeof(T), &value, sizeof(T));
}

// words[i] = convert(T at i), for every element.
template <typename T, typename Convert>
void widen(std::span<const std::byte> data, std::span<std::uint32_t> words, Convert convert) {
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = convert(load<T>(data, i));
}

template <typename T, typename Convert>
void narrow(std::span<const std::uint32_t> words, std::span<std::byte> data, Convert convert) {
  for (std::size_t i = 0; i < words.size(); ++i)
    store<T>(data, i, static_cast<T>(convert(words[i])));
}

std::uint32_t float_word(float value) { return std::bit_cast<std::uint32_t>(value); }
std::uint32_t integer_word(std::int32_t value) { return std::bit_cast<std::uint32_t>(value); }
float as_float(std::uint32_t word) { return std::bit_cast<float>(word); }
std::int32_t as_integer(std::uint32_t word) { return std::bit_cast<std::int32_t>(word); }

Result<void> narrow_int64(std::string_view what, std::span<const std::byte> data,
                          std::span<std::uint32_t> words) {
  constexpr std::int64_t kLowest = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kHighest = std::numeric_limits<std::int32_t>::max();
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto value = load<std::int64_t>(data, i);
    CHECK_OR_FAIL(value >= kLowest && value <= kHighest, ErrorKind::InvalidArgument, what,
                  ": element ", i, " is ", value,
                  ", outside the range of int32 that the program was exported with");
    words[i] = integer_word(static_cast<std::int32_t>(value));
  }
  return {};
}

// visit(position in row-major order, offset in elements) for every element.
template <typename Visit>
void for_each_offset(const Dims& sizes, const Dims& strides, const Visit& visit) {
  const auto count = static_cast<std::size_t>(sizes.numel());
  Dims at = Dims::filled(sizes.rank(), 0);
  std::int64_t offset = 0;
  for (std::size_t row = 0; row < count; ++row) {
    visit(row, offset);
    for (std::size_t d = sizes.rank(); d-- > 0;) {
      offset += strides[d];
      if (++at[d] < sizes[d]) break;
      offset -= at[d] * strides[d];
      at[d] = 0;
    }
  }
}

}  // namespace

bool is_row_major(const Dims& sizes, const Dims& strides) {
  if (sizes.numel() == 0 || strides.empty()) return true;
  const Dims rows = contiguous_strides(sizes);
  for (std::size_t d = 0; d < sizes.rank(); ++d)
    if (sizes[d] != 1 && strides[d] != rows[d]) return false;
  return true;
}

bool is_same(const HostTensor& a, const HostTensor& b) {
  if (a.is_scalar || b.is_scalar) return a.is_scalar && b.is_scalar && a.scalar == b.scalar;
  return a.dtype == b.dtype && a.sizes == b.sizes && a.strides == b.strides &&
         std::ranges::equal(a.data, b.data);
}

void gather(const HostTensor& from, std::span<std::byte> rows) {
  const std::size_t size = byte_size(from.dtype);
  for_each_offset(from.sizes, from.strides, [&](std::size_t row, std::int64_t offset) {
    std::memcpy(rows.data() + row * size,
                from.data.data() + static_cast<std::size_t>(offset) * size, size);
  });
}

void scatter(std::span<const std::byte> rows, const HostDestination& to) {
  const std::size_t size = byte_size(to.dtype);
  for_each_offset(to.sizes, to.strides, [&](std::size_t row, std::int64_t offset) {
    std::memcpy(to.data.data() + static_cast<std::size_t>(offset) * size, rows.data() + row * size,
                size);
  });
}

bool convertible(DType host, DType device) {
  const auto wide_integer = [](DType d) { return d == DType::Int32 || d == DType::Int64; };
  return host == device || (is_floating(host) && is_floating(device)) ||
         (wide_integer(host) && wide_integer(device));
}

bool is_words(DType host, Storage storage) {
  switch (storage) {
    case Storage::F32:
      return host == DType::Float32;
    case Storage::I32:
      return host == DType::Int32;
    case Storage::I64:
      return host == DType::Int64;
    case Storage::HalfPairs:
      return host == DType::Float16;
  }
  return false;
}

std::vector<std::int64_t> integers(DType host, std::span<const std::byte> data) {
  std::vector<std::int64_t> out(data.size() / byte_size(host));
  const auto fill = [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::int64_t{load<T>(data, i)};
  };
  switch (host) {
    case DType::Int64:
      fill(std::int64_t{});
      break;
    case DType::Int32:
      fill(std::int32_t{});
      break;
    case DType::Int8:
      fill(std::int8_t{});
      break;
    default:
      fill(std::uint8_t{});
  }
  return out;
}

Result<void> to_words(std::string_view what, DType host, std::span<const std::byte> data,
                      Storage storage, std::span<std::uint32_t> words) {
  if (words.empty()) return {};  // memcpy wants pointers even for nothing
  if (is_words(host, storage)) {
    std::memcpy(words.data(), data.data(), words.size_bytes());
    return {};
  }
  if (storage == Storage::I64) {
    const std::vector<std::int64_t> wide = integers(host, data);
    std::memcpy(words.data(), wide.data(), words.size_bytes());
    return {};
  }
  switch (host) {
    case DType::Float32:
    case DType::Int32:
      std::memcpy(words.data(), data.data(), words.size_bytes());
      return {};
    case DType::Int64:
      return narrow_int64(what, data, words);
    case DType::Float16:
      widen<std::uint16_t>(data, words,
                           [](std::uint16_t v) { return float_word(half_bits_to_float(v)); });
      return {};
    case DType::Float64:
      widen<double>(data, words, [](double v) { return float_word(static_cast<float>(v)); });
      return {};
    case DType::Bool:
      widen<std::uint8_t>(data, words, [](std::uint8_t v) { return v != 0 ? 1u : 0u; });
      return {};
    case DType::UInt8:
      widen<std::uint8_t>(data, words, [](std::uint8_t v) { return std::uint32_t{v}; });
      return {};
    case DType::Int8:
      widen<std::int8_t>(data, words, [](std::int8_t v) { return integer_word(v); });
      return {};
  }
  return fail(ErrorKind::Internal, what, ": unknown dtype ", host);
}

void from_words(std::span<const std::uint32_t> words, Storage storage, DType host,
                std::span<std::byte> data) {
  if (words.empty()) return;
  if (is_words(host, storage)) {
    std::memcpy(data.data(), words.data(), words.size_bytes());
    return;
  }
  if (storage == Storage::I64) {  // to int32
    for (std::size_t i = 0; i < words.size() / 2; ++i) store<std::uint32_t>(data, i, words[2 * i]);
    return;
  }
  switch (host) {
    case DType::Float32:
    case DType::Int32:
      std::memcpy(data.data(), words.data(), words.size_bytes());
      return;
    case DType::Int64:
      return narrow<std::int64_t>(words, data, as_integer);
    case DType::Float64:
      return narrow<double>(words, data, as_float);
    case DType::Float16:
      return narrow<std::uint16_t>(words, data,
                                   [](std::uint32_t w) { return float_to_half_bits(as_float(w)); });
    case DType::Bool:
      return narrow<std::uint8_t>(words, data, [](std::uint32_t w) { return w != 0; });
    case DType::UInt8:
      return narrow<std::uint8_t>(words, data, as_integer);
    case DType::Int8:
      return narrow<std::int8_t>(words, data, as_integer);
  }
}

}  // namespace etwebgpu
