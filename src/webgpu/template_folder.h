// For developers: kernels changed without building.
#pragma once

#include <string>

#include "base/result.h"
#include "kernels/kernel_source.h"

namespace etwebgpu {

// kernel_source() of the embedded templates; with ETWEBGPU_TEMPLATES set, the .wgsl files of that
// folder, which is read once a process, take the place of those with their names, or are added.
Result<std::string> used_kernel_source(const KernelVariant& variant, WgslDialect dialect);

}  // namespace etwebgpu
