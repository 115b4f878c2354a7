// What a host fetches after a failed call, kept per thread: the sentence, and whether the device is
// to blame.
#pragma once

#include <string_view>

#include "base/result.h"

namespace etwebgpu {

void set_last_error(std::string_view message, ErrorKind kind = ErrorKind::Internal);
const char* last_error();
ErrorKind last_error_kind();

}  // namespace etwebgpu
