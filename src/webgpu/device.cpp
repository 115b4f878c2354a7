#include "webgpu/device.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/checked.h"
#include "webgpu/kernel_choice.h"

namespace etwebgpu {

namespace {

constexpr auto kSubgroupMatrix = static_cast<WGPUFeatureName>(0x00050034);   // Dawn
constexpr auto kNativeSubgroups = static_cast<WGPUFeatureName>(0x00030021);  // wgpu-native
constexpr auto kNativeSubgroupBarrier = static_cast<WGPUFeatureName>(0x00030023);
constexpr std::uint32_t kNvidia = 0x10DE;
constexpr WGPUFeatureName kOptionalFeatures[] = {
    WGPUFeatureName_TimestampQuery,
    WGPUFeatureName_ShaderF16,
    WGPUFeatureName_Subgroups,
    kSubgroupMatrix,
    kNativeSubgroups,
    kNativeSubgroupBarrier,
};

// Where it is always the same, for wgpu-native does not say; else 0. Mesa's llvmpipe has its SIMD
// width in its name, and a lane takes 32 bits of it.
std::uint32_t known_subgroup_size(const AdapterDescription& adapter) {
  if (adapter.vendor_id == kNvidia) return 32;
  if (!adapter.name.starts_with("llvmpipe")) return 0;
  for (std::uint32_t bits : {128, 256, 512}) {
    if (adapter.name.find(cat(bits, " bits")) != std::string::npos) return bits / 32;
  }
  return 0;
}

struct DeviceResult {
  std::atomic<bool> done = false;
  WGPUDevice device = nullptr;
  std::string message;
};

void on_device(WGPURequestDeviceStatus, WGPUDevice device, WGPUStringView message, void* result,
               void*) {
  auto* out = static_cast<DeviceResult*>(result);
  out->device = device;
  out->message = to_string(message);
  out->done = true;
}

struct ScopeResult {
  std::atomic<bool> done = false;
  WGPUErrorType type = WGPUErrorType_NoError;
  std::string message;
};

void on_scope(WGPUPopErrorScopeStatus, WGPUErrorType type, WGPUStringView message, void* result,
              void*) {
  auto* out = static_cast<ScopeResult*>(result);
  out->type = type;
  out->message = to_string(message);
  out->done = true;
}

void on_map(WGPUMapAsyncStatus status, WGPUStringView, void* result, void*) {
  auto* out = static_cast<PendingMap*>(result);
  out->status = status;
  out->done = true;
}

ErrorKind kind_of(WGPUErrorType type) {
  return type == WGPUErrorType_OutOfMemory ? ErrorKind::ResourceLimit : ErrorKind::Internal;
}

// wgpu-native does not call back for every loss, but then every error says so.
bool says_lost(std::string_view message) {
  return message.find("device is lost") != std::string::npos;
}

// Messages in one line, and not endless: compilers quote whole shaders.
std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  constexpr std::size_t kLongest = 2000;
  if (text.size() > kLongest) text.resize(kLongest);
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

// What the provider's callbacks report, from any thread.
struct Device::Events {
  std::mutex mutex;
  bool lost = false;
  std::string lost_reason;
  std::string error;  // the first uncaptured error not yet reported
  WGPUErrorType error_type = WGPUErrorType_NoError;

  static void on_lost(const WGPUDevice*, WGPUDeviceLostReason, WGPUStringView message, void* events,
                      void*) {
    static_cast<Events*>(events)->note_loss(to_string(message));
  }
  static void on_error(const WGPUDevice*, WGPUErrorType type, WGPUStringView message, void* events,
                       void*) {
    static_cast<Events*>(events)->note_error(type, to_string(message));
  }

  void note_loss(std::string message) {
    std::lock_guard lock(mutex);
    if (std::exchange(lost, true)) return;
    lost_reason = one_line(std::move(message));
  }
  void note_error(WGPUErrorType type, std::string message) {
    if (says_lost(message)) return note_loss(std::move(message));
    std::lock_guard lock(mutex);
    if (!error.empty()) return;
    error = one_line(std::move(message));
    error_type = type;
  }

  // A few bytes per device ever made, kept so that a late callback finds them.
  static Events& make() {
    static auto* all = new std::vector<std::unique_ptr<Events>>;
    static auto* all_mutex = new std::mutex;
    std::lock_guard lock(*all_mutex);
    return *all->emplace_back(std::make_unique<Events>());
  }
};

Buffer::~Buffer() {
  if (buffer_) device_->free_buffer(buffer_, bytes_);
}

Result<std::shared_ptr<Device>> Device::acquire(const AdapterChoice& choice) {
  static auto* mutex = new std::mutex;
  static auto* living = new std::unordered_map<std::string, std::weak_ptr<Device>>;
  std::vector<std::string> failed;
  std::optional<Error> first_error;
  while (true) {
    Result<SelectedAdapter> selected = select_adapter(choice, failed);
    if (!selected) return std::unexpected(first_error ? *first_error : std::move(selected).error());
    const AdapterDescription& adapter = selected->adapter;
    std::lock_guard lock(*mutex);
    std::weak_ptr<Device>& known = (*living)[cat(choice.trusted, '\n', adapter.provider, '\n',
                                                 adapter.index, '\n', adapter.name)];
    if (auto device = known.lock(); device && !device->lost()) return device;
    Result<std::shared_ptr<Device>> device = create(*selected, choice.trusted);
    if (device) known = *device;
    if (device) return device;
    // An adapter that gives no device is no better than none: the next provider has its turn.
    if (!first_error) first_error = std::move(device).error();
    failed.push_back(adapter.provider);
  }
}

Result<std::shared_ptr<Device>> Device::create(const SelectedAdapter& selected, bool trusted) {
  std::shared_ptr<Device> device(
      new Device(*selected.provider, selected.adapter, trusted, Events::make()));
  TRY(device->open());
  return device;
}

Result<void> Device::open() {
  TRY_ASSIGN(const AdapterHandle adapter, provider_.request(adapter_));
  std::vector<WGPUFeatureName> features;
  for (WGPUFeatureName feature : kOptionalFeatures)
    if (adapter_.has(feature)) features.push_back(feature);

  DawnToggles toggles = dawn_toggles(trusted_);
  WGPUDeviceDescriptor descriptor = WGPU_DEVICE_DESCRIPTOR_INIT;
  if (api().is_dawn()) descriptor.nextInChain = &toggles.chain;
  descriptor.label = string_view("etwebgpu");
  descriptor.requiredFeatureCount = features.size();
  descriptor.requiredFeatures = features.data();
  descriptor.requiredLimits = &adapter_.limits;
  descriptor.deviceLostCallbackInfo.mode = WGPUCallbackMode_AllowSpontaneous;
  descriptor.deviceLostCallbackInfo.callback = Events::on_lost;
  descriptor.deviceLostCallbackInfo.userdata1 = &events_;
  descriptor.uncapturedErrorCallbackInfo.callback = Events::on_error;
  descriptor.uncapturedErrorCallbackInfo.userdata1 = &events_;

  DeviceResult result;
  WGPURequestDeviceCallbackInfo callback = WGPU_REQUEST_DEVICE_CALLBACK_INFO_INIT;
  callback.mode = api().callback_mode();
  callback.callback = on_device;
  callback.userdata1 = &result;
  const WGPUFuture future = api().AdapterRequestDevice(adapter.get(), &descriptor, callback);
  const bool answered = wait(api(), instance(), nullptr, future, result.done);
  CHECK_OR_FAIL(answered && result.device, ErrorKind::DeviceLost, "adapter '", adapter_.name,
                "' of provider '", adapter_.provider,
                "' gave no device: ", one_line(result.message));
  device_ = result.device;
  queue_ = QueueHandle(api(), api().DeviceGetQueue(device_));
  if (api().QueueGetTimestampPeriod) timestamp_period_ = api().QueueGetTimestampPeriod(queue());
  fill_capabilities(adapter_.limits, features);
  return {};
}

// Every workgroup rounds x first: on an H200 the layers of SmolLM2, of fewer weights, lose by it,
// and those of Llama-3.2-1B, of more, gain.
constexpr std::uint64_t kWorthByteProducts = 4'000'000;

void Device::fill_capabilities(const WGPULimits& limits,
                               std::span<const WGPUFeatureName> features) {
  const auto has = [&](WGPUFeatureName f) {
    return std::ranges::find(features, f) != features.end();
  };
  Capabilities& c = capabilities_;
  c.adapter_class = adapter_.adapter_class;
  c.dialect = api().dialect();
  c.max_buffer_size = limits.maxBufferSize;
  c.max_storage_binding = limits.maxStorageBufferBindingSize;
  c.max_uniform_binding = limits.maxUniformBufferBindingSize;
  c.max_storage_buffers = limits.maxStorageBuffersPerShaderStage;
  c.max_workgroup_invocations = limits.maxComputeInvocationsPerWorkgroup;
  c.max_workgroup_size[0] = limits.maxComputeWorkgroupSizeX;
  c.max_workgroup_size[1] = limits.maxComputeWorkgroupSizeY;
  c.max_workgroup_size[2] = limits.maxComputeWorkgroupSizeZ;
  c.max_workgroup_storage = limits.maxComputeWorkgroupStorageSize;
  c.max_workgroups_per_dimension = limits.maxComputeWorkgroupsPerDimension;
  c.storage_alignment = limits.minStorageBufferOffsetAlignment;
  c.uniform_alignment = limits.minUniformBufferOffsetAlignment;
  c.subgroups = has(WGPUFeatureName_Subgroups) || has(kNativeSubgroups);
  if (c.subgroups && adapter_.min_subgroup_size > 0) {
    c.min_subgroup_size = adapter_.min_subgroup_size;
    c.max_subgroup_size = adapter_.max_subgroup_size;
  } else if (const std::uint32_t size = known_subgroup_size(adapter_); size > 0) {
    c.min_subgroup_size = c.max_subgroup_size = size;
  }
  c.f16 = has(WGPUFeatureName_ShaderF16);
  if (has(kSubgroupMatrix)) c.matrix_size = adapter_.matrix_size;
  c.packed_products = true;  // of both front ends
  c.timestamps = has(WGPUFeatureName_TimestampQuery);
  // WebGPU does not say whether products of bytes are an instruction: Apple's GPUs and older
  // integrated ones take a dozen for it.
  if (c.adapter_class == AdapterClass::Discrete && adapter_.backend != name(WGPUBackendType_Metal))
    c.byte_products_from = kWorthByteProducts;
  if (const char* wanted = std::getenv("ETWEBGPU_KERNELS")) c = choose_kernels_as(c, wanted);
}

Device::~Device() {
  pipelines_.clear();
  queue_ = {};
  if (device_) api().DeviceRelease(device_);
}

void Device::destroy(std::string_view reason) {
  const auto held = lock();
  api().DeviceDestroy(device_);
  std::lock_guard lock(events_.mutex);
  events_.lost = true;
  events_.lost_reason = reason;
}

bool Device::lost() const {
  std::lock_guard lock(events_.mutex);
  return events_.lost;
}

Result<void> Device::status() {
  std::lock_guard lock(events_.mutex);
  if (events_.lost) {
    return fail(ErrorKind::DeviceLost, "the GPU device '", adapter_.name, "' was lost (",
                events_.lost_reason.empty() ? "no reason given" : events_.lost_reason,
                "); load the program again");
  }
  if (events_.error.empty()) return {};
  return fail(kind_of(events_.error_type), "WebGPU error: ", std::exchange(events_.error, {}));
}

bool Device::wait_for(WGPUFuture future, const std::atomic<bool>& done) {
  return wait(api(), instance(), device_, future, done);
}

Result<void> Device::pop_scope(std::string_view what) {
  ScopeResult result;
  WGPUPopErrorScopeCallbackInfo callback = WGPU_POP_ERROR_SCOPE_CALLBACK_INFO_INIT;
  callback.mode = api().callback_mode();
  callback.callback = on_scope;
  callback.userdata1 = &result;
  const WGPUFuture future = api().DevicePopErrorScope(device_, callback);
  if (!wait_for(future, result.done) || result.type == WGPUErrorType_NoError) return {};
  if (says_lost(result.message)) {
    events_.note_loss(std::move(result.message));
    return status();
  }
  return fail(kind_of(result.type), what, ": ", one_line(result.message));
}

Result<void> Device::checked(std::string_view what, const std::function<void()>& work) {
  const auto held = lock();
  TRY(status());
  const std::span<const WGPUErrorFilter> filters = api().error_filters();
  for (WGPUErrorFilter filter : filters) api().DevicePushErrorScope(device_, filter);
  work();
  Result<void> first;
  for (std::size_t i = 0; i < filters.size(); ++i) {
    Result<void> scope = pop_scope(what);
    if (first && !scope) first = std::move(scope);
  }
  return first;
}

Result<void> Device::submit(std::string_view what,
                            const std::function<void(WGPUCommandEncoder)>& record, bool scoped) {
  TRY_ASSIGN(const CommandsHandle commands, this->record(what, record, scoped));
  return send(what, commands, scoped);
}

Result<CommandsHandle> Device::record(std::string_view what,
                                      const std::function<void(WGPUCommandEncoder)>& commands,
                                      bool scoped) {
  const auto held = lock();
  TRY(status());
  CommandsHandle recorded;
  const auto encode = [&] {
    const EncoderHandle encoder(api(), api().DeviceCreateCommandEncoder(device_, nullptr));
    commands(encoder.get());
    recorded = {api(), api().CommandEncoderFinish(encoder.get(), nullptr)};
  };
  if (scoped) {
    TRY(checked(what, encode));
  } else {
    encode();
  }
  return recorded;
}

Result<void> Device::send(std::string_view what, const CommandsHandle& commands, bool scoped) {
  const auto held = lock();
  TRY(status());  // wgpu-native aborts the process when a lost device is given work
  const auto submit = [&] {
    const WGPUCommandBuffer list[] = {commands.get()};
    api().QueueSubmit(queue(), 1, list);
  };
  if (scoped) return checked(what, submit);
  submit();
  return {};
}

Result<Buffer> Device::buffer(std::string_view what, std::uint64_t bytes, WGPUBufferUsage usage) {
  const auto held = lock();
  constexpr std::uint64_t kAlignment = 16;
  CHECK_OR_FAIL(bytes <= capabilities_.max_buffer_size, ErrorKind::ResourceLimit, what, " needs ",
                bytes, " bytes; the adapter '", adapter_.name, "' allows ",
                capabilities_.max_buffer_size, " in one buffer");
  const std::uint64_t size = std::max(kAlignment, round_up(bytes, kAlignment));
  WGPUBufferDescriptor descriptor = WGPU_BUFFER_DESCRIPTOR_INIT;
  descriptor.label = string_view(what);
  descriptor.usage = usage;
  descriptor.size = size;
  WGPUBuffer raw = nullptr;
  const Result<void> made =
      checked(what, [&] { raw = api().DeviceCreateBuffer(device_, &descriptor); });
  if (!made) {
    if (raw) api().BufferRelease(raw);
    return std::unexpected(made.error());
  }
  CHECK_OR_FAIL(raw, ErrorKind::ResourceLimit, what, ": the GPU could not allocate ", size,
                " bytes");
  allocated_ += size;
  return Buffer(shared_from_this(), raw, size);
}

void Device::free_buffer(WGPUBuffer buffer, std::uint64_t bytes) {
  const auto held = lock();
  // Destroyed, not only released: bind groups may still refer to it, and its memory is wanted back.
  api().BufferDestroy(buffer);
  api().BufferRelease(buffer);
  allocated_ -= bytes;
}

Result<const Pipeline*> Device::pipeline(const KernelVariant& variant, const Signature& signature) {
  const auto held = lock();
  return pipelines_.get(variant, signature);
}

Result<const Pipeline*> Device::pipeline(std::string_view label, std::string_view wgsl,
                                         const Signature& signature) {
  const auto held = lock();
  return pipelines_.get(label, wgsl, signature);
}

Result<void> Device::compile(std::span<const PipelineRequest> requests) {
  const auto held = lock();
  TRY(status());
  return pipelines_.compile(requests);
}

Result<void> Device::map(const Buffer& buffer, WGPUMapMode mode, std::uint64_t bytes) {
  const auto held = lock();
  PendingMap pending;
  start_map(buffer, mode, bytes, pending);
  wait_for(pending.future, pending.done);
  return mapped(buffer, pending);
}

void Device::start_map(const Buffer& buffer, WGPUMapMode mode, std::uint64_t bytes,
                       PendingMap& pending) {
  const auto held = lock();
  pending.done = false;
  pending.status = WGPUMapAsyncStatus_Error;
  WGPUBufferMapCallbackInfo callback = WGPU_BUFFER_MAP_CALLBACK_INFO_INIT;
  callback.mode = api().callback_mode();
  callback.callback = on_map;
  callback.userdata1 = &pending;
  pending.future = api().BufferMapAsync(buffer.get(), mode, 0, bytes, callback);
}

Result<void> Device::finish_map(const Buffer& buffer, PendingMap& pending) {
  wait_for_one(api(), instance(), device_, pending.future, pending.done);
  return mapped(buffer, pending);
}

Result<void> Device::mapped(const Buffer& buffer, const PendingMap& pending) {
  if (pending.done && pending.status == WGPUMapAsyncStatus_Success) return {};
  TRY(status());
  return fail(ErrorKind::Internal, "the GPU could not map a buffer of ", buffer.bytes(), " bytes");
}

void Device::destroy() {
  const auto held = lock();
  api().DeviceDestroy(device_);
  api().InstanceProcessEvents(instance());
}

}  // namespace etwebgpu
