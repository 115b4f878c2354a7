// Compute pipelines by kernel variant and bindings, compiled once per device.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/kernel_variant.h"
#include "base/result.h"
#include "webgpu/api.h"

namespace etwebgpu {

class Device;

// What a pipeline's bindings are, one character each: 'r' read-only storage, 'w' storage,
// 'u' uniform.
using Signature = std::string;

struct Pipeline {
  ComputePipelineHandle pipeline;
  WGPUBindGroupLayout layout = nullptr;  // owned by the cache
  std::string label;                     // to_string of the kernel variant
};

struct PipelineRequest {
  const KernelVariant* kernel = nullptr;
  Signature signature;
};

class PipelineCache {
 public:
  explicit PipelineCache(Device& device) : device_(device) {}

  // The pipeline of a kernel variant with these bindings.
  Result<const Pipeline*> get(const KernelVariant& kernel, const Signature& signature);
  // The same from WGSL text; `label` and `signature` are its identity.
  Result<const Pipeline*> get(std::string_view label, std::string_view wgsl,
                              const Signature& signature);
  // Compiles those that are missing, side by side where the provider can.
  Result<void> compile(std::span<const PipelineRequest> requests);
  void clear();

 private:
  struct Layout {
    BindGroupLayoutHandle group;
    PipelineLayoutHandle pipeline;
  };
  struct Job;

  static std::string key(std::string_view label, const Signature& signature);
  Result<const Layout*> layout(const Signature& signature);
  WGPUShaderModule make_shader(const WGPUShaderModuleDescriptor& module) const;
  Result<std::unique_ptr<Job>> prepare(std::string_view label, std::string_view wgsl,
                                       const Signature& signature);
  void start(Job& job);
  Result<void> finish(Job& job);

  Device& device_;
  std::unordered_map<Signature, Layout> layouts_;
  std::unordered_map<std::string, std::unique_ptr<Pipeline>> pipelines_;
};

}  // namespace etwebgpu
