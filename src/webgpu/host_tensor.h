// Tensors at the host's boundary: as callers have them, and what of them becomes words of the
// device (base/elements.h converts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/result.h"
#include "base/storage.h"

namespace etwebgpu {

// An input as the caller has it: a tensor, or a scalar for a SymInt.
struct HostTensor {
  DType dtype = DType::Float32;
  Dims sizes;
  Dims strides;  // in elements, as in channels-last memory; empty: row-major
  std::span<const std::byte> data;
  bool is_scalar = false;
  std::int64_t scalar = 0;  // with is_scalar
};

// Where an output is written. Empty data skips it.
struct HostDestination {
  DType dtype = DType::Float32;
  Dims sizes;
  Dims strides;  // as of a HostTensor
  std::span<std::byte> data;
};

// True if elements with these strides lie as in a row-major tensor: strides of dimensions of size
// 1, and of tensors without elements, do not matter.
bool is_row_major(const Dims& sizes, const Dims& strides);

// True if both are the same number, or tensors of the same dtype, sizes, strides and bytes.
bool is_same(const HostTensor& a, const HostTensor& b);

// Copies a tensor's elements into row-major order, and back from it. `rows` has its bytes.
void gather(const HostTensor& from, std::span<std::byte> rows);
void scatter(std::span<const std::byte> rows, const HostDestination& to);

// A host tensor's elements as the device stores them; where that is fewer bits than int64 has,
// values must fit: the error names the value, its index and `what`.
Result<void> to_words(std::string_view what, DType host, std::span<const std::byte> data,
                      Storage storage, std::span<std::uint32_t> words);

}  // namespace etwebgpu
