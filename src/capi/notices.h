// What a host should tell its user of loads that succeeded, kept per thread.
#pragma once

#include <string>
#include <string_view>

namespace etwebgpu {

void add_notice(std::string_view sentence);
// Those since the last call, a line each.
std::string take_notices();

}  // namespace etwebgpu
