// The one JSON form of a Model and of its Plans: for executors that are not C++, for `inspect` and
// for profiles. docs/executor.md says what an executor does with it.
//
//   model {"version": 1, "inputs": [{"value", "type", "host_type", "sizes", "wants_host_data"}],
//          "outputs": [...], "constants": [{"packing", "bytes", "parts": [{"key", "offset",
//          "length", "bytes", "type", "sizes", "made_of": [{"key", "offset", "length",
//          "bytes"}]}]}], "states": likewise with "value", "scalar_values": [values by slot],
//          "scalars": 3, "calls": 20}
//   plan  {"version": 1, "inputs": [{"position", "type", "storage", "sizes", "space", "index",
//          "on_device"}], "outputs": likewise, "slots": [bytes], "slot_bytes", "uniform_bytes",
//          "dispatch_count", "dispatches": [{"call", "node", "covers", "covered_nodes", "kernel",
//          "kernel_index", "grid": [x, y, z], "live": {"scalar", "add", "divide"},
//          "bindings": [{"space", "index", "write", "offset", "size"}]}]}
//   match {"inputs": [[positions that it may be]], "first_output", "outputs": [the graph's output]}
//
// "kernel" is the variant's text and "kernel_index" its place among the model's; "covers" are names
// and "covered_nodes" debug handles of the program's calls that a fused one stands for; with "live"
// y is ceil((scalar + add) / divide). Parts that are no constants of the file, but computed once,
// have "made_of": the ones that they are computed from (plan/window_sources.h).
#pragma once

#include <cstddef>
#include <functional>

#include "base/json.h"
#include "plan/call_match.h"
#include "plan/model.h"

namespace etwebgpu {

// Adds the members to the open object.
void write_model(JsonWriter& json, const Model& model);

// `more` adds to the object of each dispatch, by its number.
void write_plan(JsonWriter& json, const Model& model, const Plan& plan,
                const std::function<void(JsonWriter&, std::size_t)>& more = {});

void write_match(JsonWriter& json, const CallMatch& match);

}  // namespace etwebgpu
