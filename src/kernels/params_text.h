// The Params of a kernel in WGSL, made of the members that a call gives.
#pragma once

#include <string>

#include "base/kernel_variant.h"

namespace etwebgpu {

// Members of the struct: "rows: u32, eps: f32".
std::string params_types(const KernelVariant& variant);
// Of fixed params: "12u, 1e-05f". WGSL has no literal for NaN and infinities, for which 0 stands.
std::string params_values(const KernelVariant& variant);

}  // namespace etwebgpu
