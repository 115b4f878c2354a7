// What an operator lowers to: kernel calls over abstract buffers, before memory is assigned.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/kernel_variant.h"
#include "base/text.h"
#include "ir/graph.h"

namespace etwebgpu {

struct BufferRef {
  enum class Kind : std::uint8_t {
    Value,     // index = ValueId: an activation, a mutable tensor, or a constant in Packing::Words
    Constant,  // index = position in the model's packed constants
    Scratch,   // index = position among this call's scratch buffers
  };
  Kind kind = Kind::Value;
  std::int32_t index = -1;
  bool operator==(const BufferRef&) const = default;
};

enum class Access : std::uint8_t { Read, ReadWrite };

// Bytes of a buffer; size 0 = to the end of the tensor.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

struct StorageBinding {
  BufferRef buffer;
  Access access = Access::Read;
  std::uint64_t offset = 0;  // bytes; a multiple of the device's storage alignment
  std::uint64_t size = 0;    // bytes; 0 = to the end of the tensor
};

// Workgroup counts. With `live` set, the y count is instead recomputed before each execute as
// div_up(scalar + add, divide): for work that grows with a position without changing any shape.
struct Grid {
  std::uint32_t x = 1, y = 1, z = 1;
  ValueId live = kNoValue;
  std::int64_t add = 0;
  std::int64_t divide = 1;
};

// One dispatch. WGSL side: storage buffers at @binding(0..n-1) in the order of read()/write(), then
// the Params uniform if params() was called, then one uniform vec4<i32> per scalar(), its value in
// .x.
struct KernelCall {
  KernelVariant kernel;
  std::vector<StorageBinding> buffers;
  std::vector<std::uint32_t> words;      // the Params struct, 32-bit members only
  std::vector<std::size_t> float_words;  // positions in it
  std::vector<ValueId> scalars;
  Grid grid;

  template <typename T>
  KernelCall& define(std::string_view parameter, const T& value) {
    kernel.parameters.emplace_back(parameter, cat(value));
    return *this;
  }
  KernelCall& read(BufferRef buffer, std::uint64_t offset = 0, std::uint64_t size = 0) {
    buffers.push_back({buffer, Access::Read, offset, size});
    return *this;
  }
  KernelCall& read(BufferRef buffer, ByteRange at) { return read(buffer, at.offset, at.size); }
  KernelCall& write(BufferRef buffer, ByteRange at) { return write(buffer, at.offset, at.size); }
  // Writes, and may also read what it wrote: a buffer appears once per kernel call.
  KernelCall& write(BufferRef buffer, std::uint64_t offset = 0, std::uint64_t size = 0) {
    buffers.push_back({buffer, Access::ReadWrite, offset, size});
    return *this;
  }
  template <typename... Ts>
  KernelCall& params(const Ts&... members) {
    (add_param(members), ...);
    return *this;
  }
  // Appends 8 extents as two vec4<u32>; unused leading dimensions are `fill`. Call it where the
  // struct is 16-byte aligned.
  KernelCall& params_dims(const Dims& dims, std::uint32_t fill) {
    for (std::size_t i = dims.rank(); i < kMaxRank; ++i) words.push_back(fill);
    for (std::int64_t extent : dims) words.push_back(static_cast<std::uint32_t>(extent));
    return *this;
  }
  // Makes the params part of the kernel instead of a uniform, as the lists PARAMS of their words
  // and FLOATS of those that are floats: for kernels that are over before a uniform has come. Each
  // set of values is a variant to compile.
  KernelCall& fix_params() {
    std::string list, floats;
    for (std::uint32_t word : words) list += cat(list.empty() ? "" : ", ", word);
    for (std::size_t at : float_words) {
      const float value = std::bit_cast<float>(words[at]);  // WGSL has no literal for NaN
      floats += cat(floats.empty() ? "" : ", ", std::isfinite(value) ? value : 0.0f, "f");
    }
    words.clear();
    return define("FIXED", 1).define("PARAMS", list).define("FLOATS", floats);
  }
  KernelCall& scalar(ValueId symint) {
    scalars.push_back(symint);
    return *this;
  }
  // A one-dimensional grid of `count` workgroups, folded into x and y past 65,535. The kernel
  // recovers its index as wid.y * num_workgroups.x + wid.x and must ignore indices >= count.
  KernelCall& groups(std::int64_t count) {
    constexpr std::int64_t kMax = 65535;
    const std::int64_t y = std::max<std::int64_t>(1, div_up(count, kMax));
    grid.x = static_cast<std::uint32_t>(div_up(count, y));
    grid.y = static_cast<std::uint32_t>(y);
    return *this;
  }
  KernelCall& groups(std::int64_t x, std::int64_t y, std::int64_t z = 1) {
    grid.x = static_cast<std::uint32_t>(x);
    grid.y = static_cast<std::uint32_t>(y);
    grid.z = static_cast<std::uint32_t>(z);
    return *this;
  }
  KernelCall& live_rows(ValueId scalar, std::int64_t add, std::int64_t divide) {
    grid.live = scalar;
    grid.add = add;
    grid.divide = divide;
    return *this;
  }

 private:
  template <typename T>
  void add_param(const T& value) {
    if constexpr (std::floating_point<T>) float_words.push_back(words.size());
    words.push_back(to_word(value));
  }
  template <typename T>
  static std::uint32_t to_word(const T& value) {
    if constexpr (std::floating_point<T>) {
      return std::bit_cast<std::uint32_t>(static_cast<float>(value));
    } else {
      return static_cast<std::uint32_t>(static_cast<std::int64_t>(value));
    }
  }
};

}  // namespace etwebgpu
