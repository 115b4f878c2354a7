// WebGPU providers and their adapters. Providers are registered once per process, in order of
// preference; each is opened when first needed and never closed, since drivers keep threads of
// their own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/capabilities.h"
#include "base/json.h"
#include "base/result.h"
#include "webgpu/api.h"

namespace etwebgpu {

struct AdapterDescription {
  std::string provider;
  std::uint32_t index = 0;  // over all adapters, in the order `devices` lists them
  std::string name, vendor, architecture, driver;
  AdapterClass adapter_class = AdapterClass::Discrete;
  std::string_view backend;
  std::uint32_t vendor_id = 0, device_id = 0;
  std::uint32_t min_subgroup_size = 0, max_subgroup_size = 0;
  WGPULimits limits = WGPU_LIMITS_INIT;
  std::vector<WGPUFeatureName> features;
  std::uint32_t matrix_size = 0;  // largest square f16 subgroup matrices with f32 results

  // How to ask the provider for it again: an adapter serves one device only.
  std::int32_t enumerated = -1;  // position in the provider's own list, where it has one
  WGPUPowerPreference power = WGPUPowerPreference_Undefined;
  bool fallback = false;

  bool has(WGPUFeatureName feature) const;
};

std::string_view name(WGPUBackendType backend);

class Provider {
 public:
  Provider(std::string name, std::string path) : name_(std::move(name)), path_(std::move(path)) {}
  Provider(std::string name, std::map<std::string, void*, std::less<>> table)
      : name_(std::move(name)), table_(std::move(table)) {}

  const std::string& name() const { return name_; }
  std::string source() const;  // the library's path, or that it is a table
  const Api& api() const { return api_; }
  WGPUInstance instance() const { return instance_; }
  bool is_open() const { return instance_ != nullptr; }

  // Finds the functions and creates the instance; later calls do nothing.
  Result<void> open();
  // Opens the provider and lists its adapters; remembered once there is one.
  Result<std::span<const AdapterDescription>> adapters();
  // A fresh adapter object for one of adapters().
  Result<AdapterHandle> request(const AdapterDescription& adapter) const;

 private:
  std::vector<AdapterHandle> enumerate() const;
  Result<AdapterHandle> request(WGPUPowerPreference power, bool fallback) const;
  AdapterDescription describe(const AdapterHandle& adapter) const;
  void add_unless_known(AdapterDescription found);

  std::string name_;
  std::string path_;                                 // a library, or
  std::map<std::string, void*, std::less<>> table_;  // functions by name
  Api api_;
  WGPUInstance instance_ = nullptr;
  std::vector<AdapterDescription> adapters_;
};

// Registers a provider. Registering a name again replaces it while it has not been used.
Result<void> register_provider(std::string_view name, std::span<const char* const> symbols,
                               std::span<void* const> addresses);
Result<void> register_provider_library(std::string_view name, std::string_view path);

struct AdapterChoice {
  std::string provider;  // a registered name or a library's path; empty = all registered, in order
  std::string adapter;   // an index, "discrete" | "integrated" | "software", or part of a name;
                         // empty = the best class there is
  bool trusted = false;  // kernels without the provider's checks: see Device::acquire
};

struct SelectedAdapter {
  Provider* provider = nullptr;  // lives as long as the process
  AdapterDescription adapter;
};

// The adapter that fits the choice. Later providers are only opened if earlier ones offer nothing
// better than a software adapter. The error says what was tried. `skipped` names providers not to
// take.
Result<SelectedAdapter> select_adapter(const AdapterChoice& choice,
                                       std::span<const std::string> skipped = {});

// Every provider with its status and adapters, and what `choice` selects, as JSON (see
// etwg_devices_json). `more` adds to the object of each adapter what else is known of it, with its
// provider's implementation.
using MoreOfAdapter =
    std::function<void(JsonWriter&, const AdapterDescription&, std::string_view implementation)>;
std::string devices_json(const AdapterChoice& choice, const MoreOfAdapter& more = {});

}  // namespace etwebgpu
