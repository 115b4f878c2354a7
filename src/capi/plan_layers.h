// How many decoder layers a plan has, for people: part of `inspect` and of a profile.
#pragma once

#include "base/json.h"
#include "plan/model.h"

namespace etwebgpu {

// Adds to the open object "layers" and "dispatches_per_layer", where there is attention.
void write_layers(JsonWriter& json, const Model& model, const Plan& plan);

}  // namespace etwebgpu
