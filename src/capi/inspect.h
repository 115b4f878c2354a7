// What is in a .pte, and what this runtime makes of it, as JSON.
//
//   {"path", "bytes", "planned_for": {"adapter", "type", "capabilities": {...}},
//    "constants": {"get_max_seq_len": 2048, ...},             the constant methods
//    "named_data": {"entries", "bytes"}, "data_files": [{"path", "bytes", "entries"}],
//    "methods": [{"name", "kernel_calls", "delegate_calls", "inputs": [...], "outputs": [...],
//      "host_kernels": [{"name", "calls"}],                    outside the delegates
//      "external_constants": [{"name", "stored", "files": [...]}],  of those: who holds each
//      "delegates": [{"backend", "blob_bytes", "options": {...},
//        "version", "operators": [{"name", "calls"}],
//        "graph": {"inputs", "outputs", "calls": [{"name", "args"}], "values": [...]},
//        "weight_bytes", "weights": [{"key", "type", "sizes", "bytes", "stored"}],
//        "memory": {"constant_bytes", "state_bytes", "constants": [...], "states": [...],
//          "staging_bytes",            beside the rest, while constants are uploaded
//          "exporter_slot_bytes",      what the exporter's plan takes for the largest inputs
//          "storages": ["f32", null, ...]},  of each value; null for what is no tensor
//        "plans": [{"for", "layers", "dispatches_per_layer", "wgsl", ...}]}]}]}
//
// A plan has the members of plan/plan_json.h, too, and capabilities those of
// base/capabilities_json.h.
//
// A delegate or a plan that this runtime refuses has an "error" instead. An outline has neither
// "planned_for" nor anything of a delegate from "version" on.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/capabilities.h"
#include "base/dims.h"
#include "base/json_value.h"
#include "base/result.h"

namespace etwebgpu {

// Of a list of extents from 0 to 2^31 - 1 in options.
Result<Dims> parse_sizes(const Json& item);

struct InspectSettings {
  // The kind of adapter to plan for, with WebGPU's default limits; unset: this machine's.
  std::optional<AdapterClass> adapter;
  // Sizes of every delegate input, for one more plan; empty: only the usual plans.
  std::vector<Dims> sizes;
  bool outline = false;  // only what the program says without its delegates' blobs
  // Number of a dispatch whose WGSL every plan that has so many shows.
  std::optional<std::size_t> kernel;

  // From {"adapter": "discrete" | "integrated" | "software", "sizes": [[...], ...], "outline":
  // true | false, "kernel": number}.
  static Result<InspectSettings> parse(std::string_view json);
};

// Without data files, those of the option count. Weights that are neither in the program nor in the
// data files are shown as not stored.
Result<std::string> inspect_json(const std::string& pte, std::span<const std::string> data_files,
                                 const InspectSettings& settings);

}  // namespace etwebgpu
