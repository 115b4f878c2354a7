// A kernel and what a call gives it by name: the identity of a pipeline. Operators name variants,
// and kernels/kernel_source.h makes their text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/literal.h"

namespace etwebgpu {

// A member of a kernel's Params: a number, a vector of 2 or 4, or an array of such vectors.
struct ParamMember {
  enum class Type : std::uint8_t { U32, I32, F32 };
  Literal name = "";
  Type type = Type::U32;
  std::uint8_t width = 1;   // 32-bit words of an element, and what its position is a multiple of
  std::uint16_t count = 0;  // elements of an array; 0: it is none
  bool operator==(const ParamMember&) const = default;
};

struct KernelVariant {
  std::string name = {};  // of a template: its file without .wgsl
  // In the order the operator gave them.
  std::vector<std::pair<std::string, std::string>> parameters = {};
  // Bindings in their order: storage buffers, then the params unless they are fixed, then scalars.
  std::vector<Literal> buffers = {};
  std::vector<ParamMember> params = {};
  std::vector<Literal> scalars = {};
  // The params' words where they are not a uniform but part of the kernel's text.
  std::vector<std::uint32_t> fixed = {};
  bool operator==(const KernelVariant&) const = default;
};

}  // namespace etwebgpu
