// Names of buffers that our own exporter writes into a delegate's compile specs, so that methods of
// a program can tell which of their states are one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace etwebgpu {

inline constexpr std::string_view kStateNames = "etwebgpu.states";  // the spec's key

using StateNames = std::map<std::int32_t, std::string>;  // by constant

// Of the spec's JSON, {"3": "forward.cache"}; none of an empty text.
Result<StateNames> parse_state_names(std::string_view text);

}  // namespace etwebgpu
