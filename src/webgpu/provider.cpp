#include "webgpu/provider.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <optional>

namespace etwebgpu {

namespace {

// Dawn's AdapterPropertiesSubgroupMatrixConfigs, chained to WGPUAdapterInfo.
constexpr WGPUSType kSubgroupMatrixConfigs = static_cast<WGPUSType>(0x0005003B);
struct SubgroupMatrixConfig {
  std::uint32_t component, result;
  std::uint32_t m, n, k;
  std::uint32_t min_subgroup_size, max_subgroup_size;
};
struct SubgroupMatrixConfigs {
  WGPUChainedStruct chain;
  std::size_t count;
  const SubgroupMatrixConfig* configs;
};

constexpr std::uint32_t kMatrixF32 = 1, kMatrixF16 = 2;
constexpr auto kSubgroupMatrixFeature = static_cast<WGPUFeatureName>(0x00050034);

bool contains(std::string_view text, std::string_view part) {
  const auto same = [](char a, char b) { return std::tolower(a) == std::tolower(b); };
  return !std::ranges::search(text, part, same).empty();
}

AdapterClass class_of(WGPUAdapterType type, std::string_view device) {
  switch (type) {
    case WGPUAdapterType_CPU:
      return AdapterClass::Software;
    case WGPUAdapterType_IntegratedGPU:
      return AdapterClass::Integrated;
    case WGPUAdapterType_DiscreteGPU:
      return AdapterClass::Discrete;
    default:
      break;
  }
  // Virtual GPUs report no type; only a software rasterizer wants other kernels.
  for (std::string_view software : {"llvmpipe", "swiftshader", "basic render"})
    if (contains(device, software)) return AdapterClass::Software;
  return AdapterClass::Discrete;
}

// Dawn reports on adapters straight to stderr while it looks for them. While this lives, stderr
// goes to a file; afterwards all but the warnings is passed on. Happens once per provider.
class QuietStderr {
 public:
  QuietStderr() : file_(std::tmpfile()) {
    if (!file_) return;
    std::fflush(stderr);
    saved_ = dup(STDERR_FILENO);
    if (saved_ >= 0) dup2(fileno(file_), STDERR_FILENO);
  }
  ~QuietStderr() {
    if (saved_ >= 0) {
      std::fflush(stderr);
      dup2(saved_, STDERR_FILENO);
      close(saved_);
      pass_on();
    }
    if (file_) std::fclose(file_);
  }
  QuietStderr(const QuietStderr&) = delete;

 private:
  void pass_on() {
    if (std::fseek(file_, 0, SEEK_SET) != 0) return;
    char line[1024];
    bool in_warning = false;
    while (std::fgets(line, sizeof line, file_)) {
      const std::string_view text(line);
      const bool continues = text.starts_with("    at ") || text == "\n";
      in_warning = text.starts_with("Warning: ") || (in_warning && continues);
      if (!in_warning) std::fputs(line, stderr);
    }
  }

  std::FILE* file_;
  int saved_ = -1;
};

template <typename T>
struct RequestResult {
  std::atomic<bool> done = false;
  T object = nullptr;
  std::string message;
};

void on_adapter(WGPURequestAdapterStatus, WGPUAdapter adapter, WGPUStringView message, void* result,
                void*) {
  auto* out = static_cast<RequestResult<WGPUAdapter>*>(result);
  out->object = adapter;
  out->message = to_string(message);
  out->done = true;
}

}  // namespace

bool AdapterDescription::has(WGPUFeatureName feature) const {
  return std::ranges::find(features, feature) != features.end();
}

std::string_view name(WGPUBackendType backend) {
  constexpr std::string_view names[] = {"undefined", "null",   "webgpu", "d3d11",   "d3d12",
                                        "metal",     "vulkan", "opengl", "opengles"};
  const auto index = static_cast<std::size_t>(backend);
  return index < std::size(names) ? names[index] : "unknown";
}

std::string Provider::source() const {
  return path_.empty() ? cat("table of ", table_.size(), " functions") : path_;
}

Result<void> Provider::open() {
  if (is_open()) return {};
  if (path_.empty()) {
    TRY_ASSIGN(api_, load_api(name_, [this](const char* function) -> void* {
                 const auto found = table_.find(std::string_view(function));
                 return found == table_.end() ? nullptr : found->second;
               }));
  } else {
    void* library = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* reason = dlerror();
      return fail(ErrorKind::DeviceLost, "WebGPU provider '", name_,
                  "' cannot be opened: ", reason ? reason : path_.c_str());
    }
    TRY_ASSIGN(api_, load_api(name_, [library](const char* function) {
                 return dlsym(library, function);
               }));
  }
  static constexpr WGPUInstanceFeatureName features[] = {WGPUInstanceFeatureName_TimedWaitAny};
  DawnToggles toggles = dawn_toggles(false);
  WGPUInstanceDescriptor descriptor = WGPU_INSTANCE_DESCRIPTOR_INIT;
  if (api_.wait_style() == WaitStyle::WaitAny) {
    descriptor.requiredFeatureCount = std::size(features);
    descriptor.requiredFeatures = features;
  }
  if (api_.is_dawn()) descriptor.nextInChain = &toggles.chain;
  instance_ = api_.CreateInstance(&descriptor);
  CHECK_OR_FAIL(instance_, ErrorKind::DeviceLost, "WebGPU provider '", name_,
                "' could not create an instance");
  return {};
}

std::vector<AdapterHandle> Provider::enumerate() const {
  constexpr WGPUFlags kVulkanMetalD3d12 = (1 << 0) | (1 << 2) | (1 << 3);
  const WgpuNativeEnumerateOptions options = {nullptr, kVulkanMetalD3d12};
  std::vector<WGPUAdapter> raw(api_.InstanceEnumerateAdapters(instance_, &options, nullptr));
  if (!raw.empty()) raw.resize(api_.InstanceEnumerateAdapters(instance_, &options, raw.data()));
  std::vector<AdapterHandle> adapters;
  for (WGPUAdapter adapter : raw) adapters.emplace_back(api_, adapter);
  return adapters;
}

Result<AdapterHandle> Provider::request(WGPUPowerPreference power, bool fallback) const {
  DawnToggles toggles = dawn_toggles(false);
  WGPURequestAdapterOptions options = WGPU_REQUEST_ADAPTER_OPTIONS_INIT;
  if (api_.is_dawn()) options.nextInChain = &toggles.chain;
  options.featureLevel = WGPUFeatureLevel_Core;
  options.powerPreference = power;
  options.forceFallbackAdapter = fallback;
  RequestResult<WGPUAdapter> result;
  WGPURequestAdapterCallbackInfo callback = WGPU_REQUEST_ADAPTER_CALLBACK_INFO_INIT;
  callback.mode = api_.callback_mode();
  callback.callback = on_adapter;
  callback.userdata1 = &result;
  const WGPUFuture future = api_.InstanceRequestAdapter(instance_, &options, callback);
  const bool answered = wait(api_, instance_, nullptr, future, result.done);
  CHECK_OR_FAIL(answered && result.object, ErrorKind::DeviceLost, "WebGPU provider '", name_,
                "' offers no adapter: ", result.message);
  return AdapterHandle(api_, result.object);
}

Result<AdapterHandle> Provider::request(const AdapterDescription& adapter) const {
  if (adapter.enumerated < 0) return request(adapter.power, adapter.fallback);
  std::vector<AdapterHandle> all = enumerate();
  const auto index = static_cast<std::size_t>(adapter.enumerated);
  CHECK_OR_FAIL(index < all.size(), ErrorKind::DeviceLost, "adapter '", adapter.name,
                "' of provider '", name_, "' is gone");
  return std::move(all[index]);
}

AdapterDescription Provider::describe(const AdapterHandle& adapter) const {
  AdapterDescription out;
  out.provider = name_;
  SubgroupMatrixConfigs matrices = {{nullptr, kSubgroupMatrixConfigs}, 0, nullptr};
  WGPUSupportedFeatures features = WGPU_SUPPORTED_FEATURES_INIT;
  api_.AdapterGetFeatures(adapter.get(), &features);
  out.features.assign(features.features, features.features + features.featureCount);
  api_.SupportedFeaturesFreeMembers(features);

  WGPUAdapterInfo info = WGPU_ADAPTER_INFO_INIT;
  if (api_.is_dawn() && out.has(kSubgroupMatrixFeature)) info.nextInChain = &matrices.chain;
  if (api_.AdapterGetInfo(adapter.get(), &info) == WGPUStatus_Success) {
    out.vendor = to_string(info.vendor);
    out.architecture = to_string(info.architecture);
    out.name = to_string(info.device);
    out.driver = to_string(info.description);
    if (out.name.empty()) out.name = out.driver;
    out.adapter_class = class_of(info.adapterType, out.name);
    out.backend = etwebgpu::name(info.backendType);
    out.vendor_id = info.vendorID;
    out.device_id = info.deviceID;
    out.min_subgroup_size = info.subgroupMinSize;
    out.max_subgroup_size = info.subgroupMaxSize;
    for (std::size_t i = 0; i < matrices.count; ++i) {
      const SubgroupMatrixConfig& c = matrices.configs[i];
      const bool halves = c.component == kMatrixF16 && c.result == kMatrixF32;
      if (halves && c.m == c.n && c.n == c.k && (c.m == 8 || c.m == 16))
        out.matrix_size = std::max(out.matrix_size, c.m);
    }
    api_.AdapterInfoFreeMembers(info);
  }
  api_.AdapterGetLimits(adapter.get(), &out.limits);
  out.limits.nextInChain = nullptr;
  return out;
}

void Provider::add_unless_known(AdapterDescription found) {
  // Dawn falls back to an adapter that executes nothing.
  if (found.backend == etwebgpu::name(WGPUBackendType_Null)) return;
  const auto same = [&](const AdapterDescription& known) {
    return known.name == found.name && known.backend == found.backend &&
           known.vendor_id == found.vendor_id && known.device_id == found.device_id;
  };
  if (std::ranges::none_of(adapters_, same)) adapters_.push_back(std::move(found));
}

Result<std::span<const AdapterDescription>> Provider::adapters() {
  TRY(open());
  if (adapters_.empty() && api_.InstanceEnumerateAdapters) {
    for (const AdapterHandle& adapter : enumerate()) {
      adapters_.push_back(describe(adapter));
      adapters_.back().enumerated = static_cast<std::int32_t>(adapters_.size() - 1);
    }
  } else if (adapters_.empty()) {
    std::optional<QuietStderr> quiet;
    if (api_.is_dawn()) quiet.emplace();
    // The standard has no list: each way of asking may give another adapter.
    struct Way {
      WGPUPowerPreference power;
      bool fallback;
    };
    for (Way way :
         {Way{WGPUPowerPreference_HighPerformance, false}, Way{WGPUPowerPreference_LowPower, false},
          Way{WGPUPowerPreference_Undefined, true}}) {
      Result<AdapterHandle> adapter = request(way.power, way.fallback);
      if (!adapter) continue;
      AdapterDescription found = describe(*adapter);
      found.power = way.power;
      found.fallback = way.fallback;
      add_unless_known(std::move(found));
    }
  }
  return std::span<const AdapterDescription>(adapters_);
}

}  // namespace etwebgpu
