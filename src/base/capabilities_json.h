// The one JSON form of Capabilities:
//
//   {"version": 1, "adapter_class": "discrete" | "integrated" | "software",
//    "dialect": "tint" | "naga", "max_buffer_size": 268435456, ..., "subgroups": true, ...}
//
// Members are named as in Capabilities; max_workgroup_size is a list of three.
#pragma once

#include "base/capabilities.h"
#include "base/json.h"
#include "base/json_value.h"
#include "base/result.h"

namespace etwebgpu {

// Adds the members to the open object.
void write_capabilities(JsonWriter& json, const Capabilities& capabilities);

// What is not said stays as in Capabilities(). Fails for another version, for members that do not
// exist and for values of another kind or out of range, and names them.
Result<Capabilities> read_capabilities(const Json& json);

}  // namespace etwebgpu
