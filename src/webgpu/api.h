// The functions of webgpu.h, found at run time. The runtime links no WebGPU library: a provider is
// a shared library's path or a table of names and addresses, and Dawn, wgpu-native or any other
// implementation of the standard header will do.
#pragma once

#include <webgpu/webgpu.h>

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/capabilities.h"
#include "base/result.h"

namespace etwebgpu {

// Every function used; a provider must have them all.
#define ETWG_WEBGPU_FUNCTIONS(X)          \
  X(CreateInstance)                       \
  X(InstanceRequestAdapter)               \
  X(InstanceProcessEvents)                \
  X(InstanceWaitAny)                      \
  X(AdapterGetInfo)                       \
  X(AdapterGetLimits)                     \
  X(AdapterGetFeatures)                   \
  X(AdapterRequestDevice)                 \
  X(AdapterRelease)                       \
  X(AdapterInfoFreeMembers)               \
  X(SupportedFeaturesFreeMembers)         \
  X(DeviceCreateBuffer)                   \
  X(DeviceCreateShaderModule)             \
  X(DeviceCreateBindGroupLayout)          \
  X(DeviceCreatePipelineLayout)           \
  X(DeviceCreateComputePipeline)          \
  X(DeviceCreateComputePipelineAsync)     \
  X(DeviceCreateBindGroup)                \
  X(DeviceCreateCommandEncoder)           \
  X(DeviceCreateQuerySet)                 \
  X(DeviceGetQueue)                       \
  X(DevicePushErrorScope)                 \
  X(DevicePopErrorScope)                  \
  X(DeviceDestroy)                        \
  X(DeviceRelease)                        \
  X(BufferMapAsync)                       \
  X(BufferGetMappedRange)                 \
  X(BufferGetConstMappedRange)            \
  X(BufferUnmap)                          \
  X(BufferDestroy)                        \
  X(BufferRelease)                        \
  X(ShaderModuleRelease)                  \
  X(BindGroupLayoutRelease)               \
  X(PipelineLayoutRelease)                \
  X(ComputePipelineRelease)               \
  X(BindGroupRelease)                     \
  X(QuerySetRelease)                      \
  X(CommandEncoderBeginComputePass)       \
  X(CommandEncoderCopyBufferToBuffer)     \
  X(CommandEncoderResolveQuerySet)        \
  X(CommandEncoderFinish)                 \
  X(CommandEncoderRelease)                \
  X(CommandBufferRelease)                 \
  X(ComputePassEncoderSetPipeline)        \
  X(ComputePassEncoderSetBindGroup)       \
  X(ComputePassEncoderDispatchWorkgroups) \
  X(ComputePassEncoderEnd)                \
  X(ComputePassEncoderRelease)            \
  X(QueueSubmit)                          \
  X(QueueWriteBuffer)                     \
  X(QueueRelease)

// How callbacks are made to run.
enum class WaitStyle : std::uint8_t {
  WaitAny,        // wgpuInstanceWaitAny with a timeout
  DevicePoll,     // wgpu-native's own blocking poll
  ProcessEvents,  // the portable loop, for implementations we do not know
};

struct WgpuNativeEnumerateOptions {
  const WGPUChainedStruct* nextInChain;
  WGPUFlags backends;
};

struct Api {
#define ETWG_DECLARE(name) WGPUProc##name name = nullptr;
  ETWG_WEBGPU_FUNCTIONS(ETWG_DECLARE)
#undef ETWG_DECLARE

  // wgpu-native's extensions; null elsewhere.
  // The result is one byte in truth, whatever its header says; it is true when the queue is empty.
  std::uint8_t (*DevicePoll)(WGPUDevice, WGPUBool wait, const std::uint64_t* submission) = nullptr;
  std::size_t (*InstanceEnumerateAdapters)(WGPUInstance, const WgpuNativeEnumerateOptions*,
                                           WGPUAdapter*) = nullptr;
  float (*QueueGetTimestampPeriod)(WGPUQueue) = nullptr;
  WGPUShaderModule (*DeviceCreateShaderModuleTrusted)(WGPUDevice, const WGPUShaderModuleDescriptor*,
                                                      WGPUFlags checks) = nullptr;
  // Dawn's extension; its presence tells Dawn apart.
  void (*DeviceTick)(WGPUDevice) = nullptr;

  bool is_dawn() const { return DeviceTick != nullptr; }
  bool is_wgpu_native() const { return DevicePoll != nullptr; }
  std::string_view implementation() const;
  WgslDialect dialect() const { return is_wgpu_native() ? WgslDialect::Naga : WgslDialect::Tint; }
  WaitStyle wait_style() const;
  // wgpu-native exports wgpuDeviceCreateComputePipelineAsync but aborts when it is called.
  bool compiles_side_by_side() const { return is_dawn(); }
  WGPUCallbackMode callback_mode() const;
  std::span<const WGPUErrorFilter> error_filters() const;  // to push around fallible calls
};

// Fills an Api; `resolve` gives the address of a function or null. Fails naming the first function
// missing.
Result<Api> load_api(std::string_view provider, const std::function<void*(const char*)>& resolve);

inline WGPUStringView string_view(std::string_view text) { return {text.data(), text.size()}; }
std::string to_string(WGPUStringView text);

// Blocks until a callback sets `done`. `device` may be null for requests made before there is one.
// False if the provider gave up on the future.
bool wait(const Api& api, WGPUInstance instance, WGPUDevice device, WGPUFuture future,
          const std::atomic<bool>& done);

// The same without waiting for work submitted later, which wgpu-native's own blocking poll does.
bool wait_for_one(const Api& api, WGPUInstance instance, WGPUDevice device, WGPUFuture future,
                  const std::atomic<bool>& done);

// Dawn's developer switches, chained to instance, adapter options and device; for a device of
// trusted programs those that leave checks out, too.
struct DawnToggles {
  WGPUChainedStruct chain;
  std::size_t enabled_count;
  const char* const* enabled;
  std::size_t disabled_count;
  const char* const* disabled;
};
DawnToggles dawn_toggles(bool trusted);

// Owns one WebGPU object; `release` is the Api member that gives it back.
template <typename T, auto release>
class Handle {
 public:
  Handle() = default;
  Handle(const Api& api, T object) : api_(&api), object_(object) {}
  Handle(Handle&& other) noexcept
      : api_(other.api_), object_(std::exchange(other.object_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(object_, other.object_);
    return *this;
  }
  ~Handle() {
    if (object_) (api_->*release)(object_);
  }

  T get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  const Api* api_ = nullptr;
  T object_ = nullptr;
};

using AdapterHandle = Handle<WGPUAdapter, &Api::AdapterRelease>;
using QueueHandle = Handle<WGPUQueue, &Api::QueueRelease>;
using ShaderHandle = Handle<WGPUShaderModule, &Api::ShaderModuleRelease>;
using BindGroupLayoutHandle = Handle<WGPUBindGroupLayout, &Api::BindGroupLayoutRelease>;
using PipelineLayoutHandle = Handle<WGPUPipelineLayout, &Api::PipelineLayoutRelease>;
using ComputePipelineHandle = Handle<WGPUComputePipeline, &Api::ComputePipelineRelease>;
using BindGroupHandle = Handle<WGPUBindGroup, &Api::BindGroupRelease>;
using QuerySetHandle = Handle<WGPUQuerySet, &Api::QuerySetRelease>;
using EncoderHandle = Handle<WGPUCommandEncoder, &Api::CommandEncoderRelease>;
using PassHandle = Handle<WGPUComputePassEncoder, &Api::ComputePassEncoderRelease>;
using CommandsHandle = Handle<WGPUCommandBuffer, &Api::CommandBufferRelease>;

}  // namespace etwebgpu
