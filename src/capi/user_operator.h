// Operators that a program defines at run time, from JSON (etwg_register_operator lists its
// members).
#pragma once

#include <string_view>

#include "base/result.h"

namespace etwebgpu {

// Checks everything but what only a device's compiler knows. After an error nothing is registered.
Result<void> register_user_operator(std::string_view json);

}  // namespace etwebgpu
