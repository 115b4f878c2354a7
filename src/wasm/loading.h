// Models of delegates that a page has read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/capabilities.h"
#include "base/result.h"
#include "format/file.h"
#include "ir/graph.h"
#include "ops/op.h"
#include "plan/model.h"

struct EtwgDelegate {
  etwebgpu::Graph graph;
  etwebgpu::FilePart constants;  // in the blob
};

namespace etwebgpu::wasm {

struct Settings {
  Capabilities capabilities;
  ModelOptions options;
  std::vector<std::int32_t> zero_constants;  // all of whose bytes are zero, as far as is known
  std::vector<std::int32_t> shared_states;   // values that other delegates write, or share
};

// Of {"capabilities": {...}, "options": {"kv_cache_dtype": "f16", "matmul_dtype": "f32"},
// "zero_constants": [3], "shared_states": [7]}.
Result<Settings> settings_of(std::string_view text);

// Bytes of a constant that the page has read; none where it has not.
using KnownConstants = std::function<std::span<const std::byte>(std::uint32_t index)>;

Result<std::unique_ptr<Model>> make_model(Graph graph, const Settings& settings,
                                          const KnownConstants& constants);

}  // namespace etwebgpu::wasm
