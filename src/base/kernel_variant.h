// A kernel and the values of its template parameters: the identity of a pipeline. Operators name
// variants, and kernels/kernel_source.h makes their text.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace etwebgpu {

struct KernelVariant {
  std::string name;  // file in src/kernels, without .wgsl
  std::vector<std::pair<std::string, std::string>>
      parameters;  // in the order the operator gave them
  bool operator==(const KernelVariant&) const = default;
};

}  // namespace etwebgpu
