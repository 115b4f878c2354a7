// What is in a .pte, and what this runtime makes of it, as JSON.
//
//   {"path", "bytes", "planned_for": {"adapter", "type"},
//    "constants": {"get_max_seq_len": 2048, ...},             the constant methods
//    "named_data": {"entries", "bytes"},
//    "methods": [{"name", "kernel_calls", "delegate_calls", "inputs": [...], "outputs": [...],
//      "delegates": [{"backend", "blob_bytes", "version", "options": {...},
//        "operators": [{"name", "calls"}],
//        "graph": {"inputs", "outputs", "calls": [{"name", "args"}], "values": [...]},
//        "weight_bytes", "weights": [{"key", "type", "sizes", "bytes", "stored"}],
//        "memory": {"constant_bytes", "state_bytes", "constants": [...], "states": [...],
//          "exporter_slot_bytes"},  what the exporter's plan takes for the largest inputs
//        "plans": [{"for", "inputs", "outputs", "slot_bytes", "slots", "dispatch_count", "layers",
//                   "dispatches_per_layer", "dispatches": [{"call", "kernel", "grid"}]}]}]}]}
//
// A delegate or a plan that this runtime refuses has an "error" instead.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/capabilities.h"
#include "base/dims.h"
#include "base/result.h"

namespace etwebgpu {

struct InspectSettings {
  // The kind of adapter to plan for, with WebGPU's default limits; unset: this machine's.
  std::optional<AdapterClass> adapter;
  // Sizes of every delegate input, for one more plan; empty: only the usual plans.
  std::vector<Dims> sizes;

  // From {"adapter": "discrete" | "integrated" | "software", "sizes": [[...], ...]}.
  static Result<InspectSettings> parse(std::string_view json);
};

// `ptd` may be empty: weights that lie outside the program are then shown as not stored.
Result<std::string> inspect_json(const std::string& pte, const std::string& ptd,
                                 const InspectSettings& settings);

}  // namespace etwebgpu
