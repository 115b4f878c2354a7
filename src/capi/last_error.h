// The sentence a host fetches after a failed call, kept per thread.
#pragma once

#include <string_view>

namespace etwebgpu {

void set_last_error(std::string_view message);
const char* last_error();

}  // namespace etwebgpu
