// What an operator lowers to: kernel calls over abstract buffers, before memory is assigned.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/kernel_variant.h"
#include "base/storage.h"
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

// Of so many elements, from one on that begins a word.
constexpr ByteRange elements_range(std::int64_t first, std::int64_t count,
                                   Storage storage = Storage::F32) {
  return {storage_bytes(storage, first), storage_bytes(storage, count)};
}

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

// A signed member of Params.
struct Signed {
  std::int64_t value;
};

// A vec4, or an element of an array of them.
using Extents = std::array<std::int64_t, 4>;

// A named member of Params and its value: unsigned for integers, f32 for floating types.
struct Param {
  using Type = ParamMember::Type;

  template <std::integral T>
  Param(Literal name, T value) : member{name}, words{to_word(value)} {}
  template <std::floating_point T>
  Param(Literal name, T value)
      : member{name, Type::F32}, words{std::bit_cast<std::uint32_t>(static_cast<float>(value))} {}
  Param(Literal name, Signed value) : member{name, Type::I32}, words{to_word(value.value)} {}
  Param(Literal name, const std::array<std::uint32_t, 2>& pair)
      : member{name, Type::U32, 2}, words{pair[0], pair[1]} {}
  Param(Literal name, const Extents& e)
      : member{name, Type::U32, 4},
        words{to_word(e[0]), to_word(e[1]), to_word(e[2]), to_word(e[3])} {}

  template <std::integral T>
  static std::uint32_t to_word(T value) {
    return static_cast<std::uint32_t>(static_cast<std::int64_t>(value));
  }

  ParamMember member;
  std::array<std::uint32_t, 4> words{};
};

// One dispatch. What it binds and its params have the names by which the kernel's template knows
// them: buffers and scalars as in `@binding(NAME)`, params as in `params.NAME`. Their numbers and
// offsets follow from the order of the calls here, and only kernels/kernel_source.h and the planner
// know them. A scalar is a uniform vec4<i32>, its value in .x.
struct KernelCall {
  KernelVariant kernel;
  std::vector<StorageBinding> buffers;
  std::vector<std::uint32_t> words;  // of the params, where they are a uniform
  std::vector<ValueId> scalars;
  Grid grid;

  template <typename T>
  KernelCall& define(std::string_view parameter, const T& value) {
    kernel.parameters.emplace_back(parameter, cat(value));
    return *this;
  }
  KernelCall& read(Literal name, BufferRef buffer, ByteRange at = {}) {
    return bind(name, buffer, Access::Read, at);
  }
  // Writes, and may also read what it wrote: a buffer appears once per kernel call.
  KernelCall& write(Literal name, BufferRef buffer, ByteRange at = {}) {
    return bind(name, buffer, Access::ReadWrite, at);
  }
  KernelCall& scalar(Literal name, ValueId symint);
  KernelCall& param(Literal name, const auto& value) { return params({{name, value}}); }
  KernelCall& params(std::initializer_list<Param> members);
  // An array of vec4.
  KernelCall& param_array(Literal name, std::span<const Extents> elements,
                          ParamMember::Type type = ParamMember::Type::U32);
  // Makes the params a constant of the kernel's text instead of a uniform: for kernels that are
  // over before a uniform has come. Each set of values is a variant to compile.
  KernelCall& fix_params();
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
  KernelCall& bind(Literal name, BufferRef buffer, Access access, ByteRange at);
  void add_member(const ParamMember& member);
};

}  // namespace etwebgpu
