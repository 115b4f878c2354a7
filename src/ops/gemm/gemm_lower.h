// Emits the kernel calls of a matrix product whose weights fit the device's bindings by their rows.
#pragma once

#include "ops/gemm/gemm.h"

namespace etwebgpu {

Result<void> lower_fitting_gemm(LowerContext& c, const Gemm& gemm);

}  // namespace etwebgpu
