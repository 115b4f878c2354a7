// Tensor sizes: a fixed-capacity list of at most kMaxRank non-negative 64-bit extents.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "base/text.h"

namespace etwebgpu {

inline constexpr std::size_t kMaxRank = 8;

class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<std::int64_t> extents)
      : Dims(std::span(extents.begin(), extents.size())) {}
  // Requires extents.size() <= kMaxRank; callers check ranks that come from files.
  explicit Dims(std::span<const std::int64_t> extents) : rank_(extents.size()) {
    assert(rank_ <= kMaxRank);
    std::ranges::copy(extents, extents_.begin());
  }

  static Dims filled(std::size_t rank, std::int64_t value) {
    Dims out;
    for (std::size_t i = 0; i < rank; ++i) out.push_back(value);
    return out;
  }

  std::size_t rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  std::int64_t operator[](std::size_t i) const { return extents_[i]; }
  std::int64_t& operator[](std::size_t i) { return extents_[i]; }
  std::int64_t back() const { return extents_[rank_ - 1]; }
  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }

  void push_back(std::int64_t extent) {
    assert(rank_ < kMaxRank);
    extents_[rank_++] = extent;
  }

  // Product of the extents in [first, last); 1 for an empty range. Bounds are checked at load, so a
  // product of live sizes never overflows.
  std::int64_t product(std::size_t first, std::size_t last) const {
    std::int64_t out = 1;
    for (std::size_t i = first; i < last; ++i) out *= extents_[i];
    return out;
  }
  std::int64_t numel() const { return product(0, rank_); }

  bool operator==(const Dims& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  std::size_t rank_ = 0;
};

inline std::string to_string(const Dims& dims) {
  std::string out = "[";
  for (std::size_t i = 0; i < dims.rank(); ++i) {
    if (i != 0) out += ", ";
    TextPart(dims[i]).append_to(out);
  }
  return out + "]";
}

// Strides of a contiguous tensor, in elements.
inline Dims contiguous_strides(const Dims& sizes) {
  Dims strides = Dims::filled(sizes.rank(), 1);
  for (std::size_t i = sizes.rank(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  return strides;
}

}  // namespace etwebgpu
