// A plan's dispatches and memory as JSON: shared by `inspect` and by a model's profile.
#pragma once

#include <span>

#include "base/json.h"
#include "plan/model.h"
#include "webgpu/runner.h"

namespace etwebgpu {

// Adds to the open object: "inputs", "outputs", "slot_bytes", "slots", "dispatch_count", "layers"
// and "dispatches_per_layer" (where there is attention), "dispatches". `times`, if not empty, adds
// "microseconds" to each dispatch.
void write_plan(JsonWriter& json, const Model& model, const Plan& plan,
                std::span<const DispatchTime> times = {});

}  // namespace etwebgpu
