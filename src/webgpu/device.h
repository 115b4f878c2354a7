// A WebGPU device and what is made on it: buffers, pipelines, error scopes. All models on one
// adapter share one device. Every function is safe to call from several threads; Device::lock()
// keeps a sequence of calls together.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/capabilities.h"
#include "base/result.h"
#include "ops/kernel_call.h"
#include "webgpu/api.h"
#include "webgpu/pipelines.h"
#include "webgpu/provider.h"

namespace etwebgpu {

class Device;

// A GPU buffer; its bytes count as allocated on the device until it is destroyed.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<Device> device, WGPUBuffer buffer, std::uint64_t bytes)
      : device_(std::move(device)), buffer_(buffer), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer();

  WGPUBuffer get() const { return buffer_; }
  const Device* device() const { return device_.get(); }
  std::uint64_t bytes() const { return bytes_; }
  explicit operator bool() const { return buffer_ != nullptr; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(buffer_, other.buffer_);
    std::swap(bytes_, other.bytes_);
  }

  std::shared_ptr<Device> device_;
  WGPUBuffer buffer_ = nullptr;
  std::uint64_t bytes_ = 0;
};

// Bytes of a buffer that somebody else owns.
struct BufferRange {
  WGPUBuffer buffer = nullptr;
  std::uint64_t offset = 0, bytes = 0;
};

// A buffer on its way to being mapped.
struct PendingMap {
  std::atomic<bool> done = false;
  WGPUMapAsyncStatus status = WGPUMapAsyncStatus_Error;
  WGPUFuture future = {};
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  // The device of the chosen adapter: a living one if there is, else a new one. One for `trusted`
  // programs compiles kernels without the provider's checks of indices, and with Dawn without
  // zeroing workgroup memory.
  static Result<std::shared_ptr<Device>> acquire(const AdapterChoice& choice);
  ~Device();
  Device(const Device&) = delete;

  const Api& api() const { return provider_.api(); }
  WGPUInstance instance() const { return provider_.instance(); }
  WGPUDevice get() const { return device_; }
  WGPUQueue queue() const { return queue_.get(); }
  const AdapterDescription& adapter() const { return adapter_; }
  bool trusted() const { return trusted_; }
  const Capabilities& capabilities() const { return capabilities_; }
  // Nanoseconds in one unit of a timestamp query.
  double timestamp_period() const { return timestamp_period_; }

  [[nodiscard]] std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(mutex_); }

  // An error once the device is lost; also reports (once) an error that no scope caught.
  Result<void> status();
  bool lost() const;
  // As if the driver had lost it, for this reason: for tests.
  void destroy(std::string_view reason);

  // `what` names the buffer in errors. New buffers hold zeros; sizes are rounded up to 16 bytes.
  Result<Buffer> buffer(std::string_view what, std::uint64_t bytes, WGPUBufferUsage usage);
  std::uint64_t allocated_bytes() const { return allocated_; }

  // The pipeline of a kernel variant with these bindings, compiled when first asked for.
  Result<const Pipeline*> pipeline(const KernelVariant& variant, const Signature& signature);
  // The same from WGSL text; `label` and `signature` are its identity.
  Result<const Pipeline*> pipeline(std::string_view label, std::string_view wgsl,
                                   const Signature& signature);
  // Compiles many at once, so that pipeline() only looks them up.
  Result<void> compile(std::span<const PipelineRequest> requests);

  // Runs `work` inside validation, out-of-memory and internal error scopes; `what` begins the
  // error.
  Result<void> checked(std::string_view what, const std::function<void()>& work);

  // Records commands and submits them; with `scoped`, inside error scopes. Also in two steps.
  Result<void> submit(std::string_view what, const std::function<void(WGPUCommandEncoder)>& record,
                      bool scoped);
  Result<CommandsHandle> record(std::string_view what,
                                const std::function<void(WGPUCommandEncoder)>& commands,
                                bool scoped);
  Result<void> send(std::string_view what, const CommandsHandle& commands, bool scoped);

  // Maps [0, bytes) of a buffer and blocks until it is mapped.
  Result<void> map(const Buffer& buffer, WGPUMapMode mode, std::uint64_t bytes);
  // The same in two steps; `pending` stays in place until the second. Work submitted after the
  // first need not be done for the second to return.
  void start_map(const Buffer& buffer, WGPUMapMode mode, std::uint64_t bytes, PendingMap& pending);
  Result<void> finish_map(const Buffer& buffer, PendingMap& pending);
  // Gives the device to the driver's "lost" state, as a removed GPU would be. For tests.
  void destroy();

 private:
  struct Events;
  friend class Buffer;

  Device(Provider& provider, AdapterDescription adapter, bool trusted, Events& events)
      : provider_(provider), adapter_(std::move(adapter)), trusted_(trusted), events_(events) {}
  static Result<std::shared_ptr<Device>> create(const SelectedAdapter& selected, bool trusted);
  Result<void> open();
  void fill_capabilities(const WGPULimits& limits, std::span<const WGPUFeatureName> features);
  Result<void> pop_scope(std::string_view what);
  Result<void> mapped(const Buffer& buffer, const PendingMap& pending);
  bool wait_for(WGPUFuture future, const std::atomic<bool>& done);
  void free_buffer(WGPUBuffer buffer, std::uint64_t bytes);

  Provider& provider_;
  AdapterDescription adapter_;
  bool trusted_;
  Events& events_;  // outlives the device: callbacks may come late
  std::recursive_mutex mutex_;
  WGPUDevice device_ = nullptr;
  QueueHandle queue_;
  Capabilities capabilities_;
  double timestamp_period_ = 1.0;
  std::atomic<std::uint64_t> allocated_ = 0;
  PipelineCache pipelines_{*this};
};

}  // namespace etwebgpu
