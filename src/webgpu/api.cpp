#include "webgpu/api.h"

#include <chrono>
#include <cstring>
#include <iterator>
#include <thread>

namespace etwebgpu {

std::string_view Api::implementation() const {
  if (is_wgpu_native()) return "wgpu-native";
  return is_dawn() ? "Dawn" : "webgpu.h";
}

WaitStyle Api::wait_style() const {
  // wgpu-native exports wgpuInstanceWaitAny but aborts when it is called.
  if (is_wgpu_native()) return WaitStyle::DevicePoll;
  return is_dawn() ? WaitStyle::WaitAny : WaitStyle::ProcessEvents;
}

WGPUCallbackMode Api::callback_mode() const {
  return wait_style() == WaitStyle::WaitAny ? WGPUCallbackMode_WaitAnyOnly
                                            : WGPUCallbackMode_AllowProcessEvents;
}

std::span<const WGPUErrorFilter> Api::error_filters() const {
  static constexpr WGPUErrorFilter filters[] = {
      WGPUErrorFilter_OutOfMemory, WGPUErrorFilter_Validation, WGPUErrorFilter_Internal};
  // wgpu-native aborts on the internal filter.
  return std::span(filters).first(is_wgpu_native() ? 2 : 3);
}

namespace {

template <typename Function>
bool find(const std::function<void*(const char*)>& resolve, const char* name, Function& out) {
  out = reinterpret_cast<Function>(resolve(name));
  return out != nullptr;
}

}  // namespace

Result<Api> load_api(std::string_view provider, const std::function<void*(const char*)>& resolve) {
  Api api;
#define ETWG_RESOLVE(name)                                                                         \
  CHECK_OR_FAIL(find(resolve, "wgpu" #name, api.name), ErrorKind::DeviceLost, "WebGPU provider '", \
                provider, "' has no function wgpu" #name);
  ETWG_WEBGPU_FUNCTIONS(ETWG_RESOLVE)
#undef ETWG_RESOLVE
  find(resolve, "wgpuDevicePoll", api.DevicePoll);
  find(resolve, "wgpuDeviceCreateShaderModuleTrusted", api.DeviceCreateShaderModuleTrusted);
  find(resolve, "wgpuInstanceEnumerateAdapters", api.InstanceEnumerateAdapters);
  find(resolve, "wgpuQueueGetTimestampPeriod", api.QueueGetTimestampPeriod);
  find(resolve, "wgpuDeviceTick", api.DeviceTick);
  return api;
}

std::string to_string(WGPUStringView text) {
  if (!text.data) return "";
  const std::size_t length = text.length == WGPU_STRLEN ? std::strlen(text.data) : text.length;
  return std::string(text.data, length);
}

bool wait(const Api& api, WGPUInstance instance, WGPUDevice device, WGPUFuture future,
          const std::atomic<bool>& done) {
  if (api.wait_style() == WaitStyle::WaitAny) {
    WGPUFutureWaitInfo info = {future, 0};
    const bool waited =
        done || api.InstanceWaitAny(instance, 1, &info, UINT64_MAX) == WGPUWaitStatus_Success;
    return waited && done;
  }
  constexpr int kIdlePolls = 1000;  // empty polls after which a callback will not come any more
  for (int idle = 0; !done && idle < kIdlePolls;) {
    if (api.DevicePoll && device) {
      if (api.DevicePoll(device, 1, nullptr)) ++idle;
    } else {
      api.InstanceProcessEvents(instance);
      if (!done) std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  return done;
}

bool wait_for_one(const Api& api, WGPUInstance instance, WGPUDevice device, WGPUFuture future,
                  const std::atomic<bool>& done) {
  if (api.wait_style() != WaitStyle::DevicePoll || !device)
    return wait(api, instance, device, future, done);
  while (!done) {
    const bool idle = api.DevicePoll(device, 0, nullptr) != 0;
    if (idle && !done) return wait(api, instance, device, future, done);
    if (!done) std::this_thread::sleep_for(std::chrono::microseconds(5));
  }
  return done;
}

DawnToggles dawn_toggles(bool trusted) {
  // Experimental features (subgroup matrices) need the first; Dawn hides f16 on NVIDIA without the
  // second; exact timestamps need quantization off. The others are for trusted programs.
  static constexpr const char* enabled[] = {"allow_unsafe_apis", "vulkan_enable_f16_on_nvidia",
                                            "disable_robustness", "disable_workgroup_init"};
  constexpr std::size_t kAlways = 2;
  static constexpr const char* disabled[] = {"timestamp_quantization"};
  constexpr WGPUSType kDawnTogglesDescriptor = static_cast<WGPUSType>(0x0005000A);
  return {{nullptr, kDawnTogglesDescriptor},
          trusted ? std::size(enabled) : kAlways,
          enabled,
          std::size(disabled),
          disabled};
}

}  // namespace etwebgpu
