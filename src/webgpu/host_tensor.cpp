#include "webgpu/host_tensor.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/elements.h"

namespace etwebgpu {

namespace {

Result<void> check_fits_int32(std::string_view what, std::span<const std::byte> data) {
  constexpr std::int64_t kLowest = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kHighest = std::numeric_limits<std::int32_t>::max();
  const auto count = static_cast<std::int64_t>(data.size() / byte_size(DType::Int64));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = element_at<std::int64_t>(data.data(), i);
    CHECK_OR_FAIL(value >= kLowest && value <= kHighest, ErrorKind::InvalidArgument, what,
                  ": element ", i, " is ", value,
                  ", outside the range of int32 that the program was exported with");
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

Result<void> to_words(std::string_view what, DType host, std::span<const std::byte> data,
                      Storage storage, std::span<std::uint32_t> words) {
  CHECK_OR_FAIL(can_store(storage, host), ErrorKind::Internal, what, ": ", name(host),
                " is not stored as ", name(storage));
  if (host == DType::Int64 && storage == Storage::I32) TRY(check_fits_int32(what, data));
  const auto count = static_cast<std::int64_t>(data.size() / byte_size(host));
  store_elements(host, data.data(), count, storage, std::as_writable_bytes(words).data());
  return {};
}

}  // namespace etwebgpu
