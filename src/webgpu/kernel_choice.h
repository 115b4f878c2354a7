// Kernels are chosen from capabilities. ETWEBGPU_KERNELS asks for another choice on the device at
// hand, so that kernels for GPUs are tested on software adapters: a comma-separated list of
//   discrete | integrated | software   the class to choose kernels for
//   portable                           WebGPU's guaranteed limits alone, without optional features
//   matrices                           matrix units, if there are any, for layers of any size
//   few_rows                           kernels for a few rows of layers of any size
//   bytes                              products of bytes wherever they can be
//   pieces                             bindings of 64 KiB, so that small tensors come in pieces
#pragma once

#include <string_view>

#include "base/capabilities.h"

namespace etwebgpu {

// The capabilities to choose by. `wanted` is the variable's value; unknown words are ignored.
Capabilities choose_kernels_as(Capabilities device, std::string_view wanted);

}  // namespace etwebgpu
