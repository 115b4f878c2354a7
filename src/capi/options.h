// Settings of the backend, by key: "provider", "adapter", "profiling", "kv_cache_dtype",
// "matmul_dtype", "memory_limit", "trusted", "self_test", "shared_states", "data_files". A model's
// own specs come before set_thread_option, that before set_option, and that before the environment
// (ETWEBGPU_PROVIDER and so on).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ops/op.h"

namespace etwebgpu {

struct Options {
  std::string
      provider;  // a registered name or a library's path; empty: the first that has an adapter
  std::string adapter;  // an index, a type or part of a name; empty: the best
  bool profiling = false;
  ModelOptions model;
  std::uint64_t memory_limit = 0;  // bytes of device memory for one model; 0: as the device allows
  bool trusted = false;            // kernels without the provider's checks (Device::acquire)
  bool self_test = false;          // kernels are tried where they run (webgpu/self_test.h)
  // Methods of a program whose buffers have equal first contents share them (DelegateStates).
  bool shared_states = true;
  std::vector<std::string>
      data_files;  // for weights that the host does not have (capi/data_files.h)
};

using OptionText = std::pair<std::string, std::string>;

// The names of all keys.
std::span<const std::string_view> option_keys();

// Sets a process-wide option; an empty value resets it. Fails on an unknown key or value.
Result<void> set_option(std::string_view key, std::string_view value);

// The same for what this thread loads, before what set_option says.
Result<void> set_thread_option(std::string_view key, std::string_view value);

// The text in force for a key on this thread, "" for none.
std::string option_text(std::string_view key);

// All options with `overrides` (a model's own specs) in front.
Result<Options> resolve_options(std::span<const OptionText> overrides);

}  // namespace etwebgpu
