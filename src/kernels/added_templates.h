// Templates that programs bring at run time. They are found beside all others, whose names win, and
// stay for good.
#pragma once

#include <string>
#include <string_view>

#include "kernels/kernel_parameters.h"

namespace etwebgpu {

// False where a template of that name was added before.
bool add_template(std::string name, std::string text);

const KernelTemplate* added_template(std::string_view name);

}  // namespace etwebgpu
