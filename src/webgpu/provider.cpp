#include "webgpu/provider.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <optional>

#include "base/json.h"

namespace etwebgpu {

namespace {

// Dawn's AdapterPropertiesSubgroupMatrixConfigs, chained to WGPUAdapterInfo.
constexpr WGPUSType kSubgroupMatrixConfigs = static_cast<WGPUSType>(0x0005003B);
struct SubgroupMatrixConfig {
  std::uint32_t component, result;  // 1 = f32, 2 = f16
  std::uint32_t m, n, k;
};
struct SubgroupMatrixConfigs {
  WGPUChainedStruct chain;
  std::size_t count;
  const SubgroupMatrixConfig* configs;
};

constexpr auto kSubgroupMatrixFeature = static_cast<WGPUFeatureName>(0x00050034);

struct FeatureText {
  std::uint32_t feature;
  std::string_view text;
};
constexpr FeatureText kFeatures[] = {
    {WGPUFeatureName_CoreFeaturesAndLimits, "core-features-and-limits"},
    {WGPUFeatureName_TimestampQuery, "timestamp-query"},
    {WGPUFeatureName_ShaderF16, "shader-f16"},
    {WGPUFeatureName_Subgroups, "subgroups"},
    {0x00030021, "subgroups"},  // wgpu-native's own number
    {kSubgroupMatrixFeature, "chromium-experimental-subgroup-matrix"},
};

// The limits a compute runtime depends on, by their WebGPU names.
struct LimitText {
  std::string_view text;
  std::uint64_t (*get)(const WGPULimits&);
};
#define ETWG_LIMIT(member) \
  { #member, [](const WGPULimits& l) -> std::uint64_t { return l.member; } }
constexpr LimitText kLimits[] = {
    ETWG_LIMIT(maxBufferSize),
    ETWG_LIMIT(maxStorageBufferBindingSize),
    ETWG_LIMIT(maxUniformBufferBindingSize),
    ETWG_LIMIT(maxStorageBuffersPerShaderStage),
    ETWG_LIMIT(maxUniformBuffersPerShaderStage),
    ETWG_LIMIT(maxBindingsPerBindGroup),
    ETWG_LIMIT(maxComputeInvocationsPerWorkgroup),
    ETWG_LIMIT(maxComputeWorkgroupSizeX),
    ETWG_LIMIT(maxComputeWorkgroupSizeY),
    ETWG_LIMIT(maxComputeWorkgroupSizeZ),
    ETWG_LIMIT(maxComputeWorkgroupStorageSize),
    ETWG_LIMIT(maxComputeWorkgroupsPerDimension),
    ETWG_LIMIT(minStorageBufferOffsetAlignment),
    ETWG_LIMIT(minUniformBufferOffsetAlignment),
};
#undef ETWG_LIMIT

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool contains(std::string_view text, std::string_view part) {
  return lower(text).find(lower(part)) != std::string::npos;
}

AdapterClass class_of(WGPUAdapterType type, std::string_view device) {
  switch (type) {
    case WGPUAdapterType_CPU: return AdapterClass::Software;
    case WGPUAdapterType_IntegratedGPU: return AdapterClass::Integrated;
    case WGPUAdapterType_DiscreteGPU: return AdapterClass::Discrete;
    default: break;
  }
  // Virtual GPUs report no type; only a software rasterizer wants other kernels.
  for (std::string_view software : {"llvmpipe", "swiftshader", "basic render"})
    if (contains(device, software)) return AdapterClass::Software;
  return AdapterClass::Discrete;
}

// Everything registered. Never destroyed: a host may unload the drivers' threads first.
struct Registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<Provider>> providers;

  Provider* find(std::string_view name) {
    for (auto& provider : providers)
      if (provider->name() == name) return provider.get();
    return nullptr;
  }

  Result<void> add(std::unique_ptr<Provider> provider) {
    for (auto& known : providers) {
      if (known->name() != provider->name()) continue;
      if (!known->is_open()) known = std::move(provider);
      return {};
    }
    providers.push_back(std::move(provider));
    return {};
  }
};

Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

// Dawn reports on adapters straight to stderr while it looks for them. While this lives, stderr goes to a
// file; afterwards all but the warnings is passed on. Happens once per provider.
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
    std::rewind(file_);
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

std::string_view name(AdapterClass adapter_class) {
  constexpr std::string_view names[] = {"discrete", "integrated", "software"};
  return names[static_cast<std::size_t>(adapter_class)];
}

std::string_view name(WGPUBackendType backend) {
  constexpr std::string_view names[] = {"undefined", "null",  "webgpu", "d3d11",    "d3d12",
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
      return fail(ErrorKind::DeviceLost, "WebGPU provider '", name_, "' cannot be opened: ",
                  reason ? reason : path_.c_str());
    }
    TRY_ASSIGN(api_, load_api(name_, [library](const char* function) {
      return dlsym(library, function);
    }));
  }
  static constexpr WGPUInstanceFeatureName features[] = {WGPUInstanceFeatureName_TimedWaitAny};
  DawnToggles toggles = dawn_toggles();
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
  DawnToggles toggles = dawn_toggles();
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
  CHECK_OR_FAIL(index < all.size(), ErrorKind::DeviceLost, "adapter '", adapter.name, "' of provider '",
                name_, "' is gone");
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
      out.f16_matrices |= c.component == 2 && c.result == 1 && c.m == 16 && c.n == 16 && c.k == 16;
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
    for (Way way : {Way{WGPUPowerPreference_HighPerformance, false},
                    Way{WGPUPowerPreference_LowPower, false},
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

Result<void> register_provider(std::string_view name, std::span<const char* const> symbols,
                               std::span<void* const> addresses) {
  CHECK_OR_FAIL(!name.empty() && symbols.size() == addresses.size(), ErrorKind::InvalidArgument,
                "a provider needs a name and one address per symbol (", symbols.size(), " symbols, ",
                addresses.size(), " addresses)");
  std::map<std::string, void*, std::less<>> table;
  for (std::size_t i = 0; i < symbols.size(); ++i) table.emplace(symbols[i], addresses[i]);
  std::lock_guard lock(registry().mutex);
  return registry().add(std::make_unique<Provider>(std::string(name), std::move(table)));
}

Result<void> register_provider_library(std::string_view name, std::string_view path) {
  CHECK_OR_FAIL(!name.empty() && !path.empty(), ErrorKind::InvalidArgument,
                "a provider library needs a name and a path");
  std::lock_guard lock(registry().mutex);
  return registry().add(std::make_unique<Provider>(std::string(name), std::string(path)));
}

namespace {

std::optional<std::uint32_t> as_index(std::string_view text) {
  std::uint32_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return index;
}

bool matches(const AdapterDescription& adapter, std::string_view wanted) {
  if (wanted.empty()) return true;
  if (const auto index = as_index(wanted)) return adapter.index == *index;
  if (lower(wanted) == name(adapter.adapter_class)) return true;
  return contains(adapter.name, wanted) || contains(adapter.driver, wanted);
}

// A wanted provider must be registered; the path of a library becomes a provider by being named.
Result<void> ensure_registered(Registry& all, const std::string& wanted) {
  if (wanted.empty()) {
    CHECK_OR_FAIL(!all.providers.empty(), ErrorKind::DeviceLost,
                  "no WebGPU provider is registered; set the option 'provider' to the path of a library "
                  "that exports webgpu.h");
    return {};
  }
  if (all.find(wanted)) return {};
  CHECK_OR_FAIL(wanted.find_first_of("/\\.") != std::string::npos, ErrorKind::InvalidArgument,
                "no WebGPU provider is named '", wanted, "', and it is no library's path");
  return all.add(std::make_unique<Provider>(wanted, wanted));
}

std::string offer(std::span<const AdapterDescription> adapters) {
  std::string text;
  for (const AdapterDescription& adapter : adapters) {
    text += cat(text.empty() ? "offers " : ", ", adapter.name, " (", name(adapter.adapter_class), ")");
  }
  return text.empty() ? "no adapter" : text;
}

Result<SelectedAdapter> select_locked(Registry& all, const AdapterChoice& choice,
                                      std::span<const std::string> skipped) {
  TRY(ensure_registered(all, choice.provider));
  const bool count_all = as_index(choice.adapter).has_value();  // indices count every provider's adapters
  std::optional<SelectedAdapter> best;
  std::string tried;
  std::uint32_t index = 0;
  for (auto& provider : all.providers) {
    const bool wanted = (choice.provider.empty() || provider->name() == choice.provider) &&
                        std::ranges::find(skipped, provider->name()) == skipped.end();
    if (!wanted && !count_all) continue;
    Result<std::span<const AdapterDescription>> adapters = provider->adapters();
    tried += cat(tried.empty() ? "" : "; ", provider->name(), ": ",
                 adapters ? offer(*adapters) : adapters.error().message);
    if (!adapters) continue;
    for (AdapterDescription adapter : *adapters) {
      adapter.index = index++;
      if (!wanted || !matches(adapter, choice.adapter)) continue;
      if (!best || adapter.adapter_class < best->adapter.adapter_class)
        best = SelectedAdapter{provider.get(), std::move(adapter)};
    }
    const bool settled = best && (best->adapter.adapter_class != AdapterClass::Software ||
                                  !choice.adapter.empty());
    if (settled) break;
  }
  if (best) return *std::move(best);
  if (!choice.adapter.empty() && index > 0)
    return fail(ErrorKind::DeviceLost, "no WebGPU adapter matches '", choice.adapter, "' (", tried, ")");
  return fail(ErrorKind::DeviceLost, "no WebGPU adapter was found (", tried,
              "); install a GPU driver with Vulkan, or a software one such as Debian's "
              "mesa-vulkan-drivers");
}

void write_adapter(JsonWriter& json, const AdapterDescription& adapter) {
  json.begin_object().member("index", adapter.index).member("name", adapter.name);
  json.member("provider", adapter.provider).member("type", name(adapter.adapter_class));
  json.member("backend", adapter.backend).member("driver", adapter.driver);
  json.member("vendor", adapter.vendor).member("architecture", adapter.architecture);
  json.key("limits").begin_object();
  for (const LimitText& limit : kLimits) json.member(limit.text, limit.get(adapter.limits));
  json.end_object();
  json.key("subgroup_sizes").begin_array();
  json.value(adapter.min_subgroup_size).value(adapter.max_subgroup_size).end_array();
  json.key("features").begin_array();
  for (const FeatureText& feature : kFeatures)
    if (adapter.has(static_cast<WGPUFeatureName>(feature.feature))) json.value(feature.text);
  json.end_array().end_object();
}

}  // namespace

Result<SelectedAdapter> select_adapter(const AdapterChoice& choice,
                                       std::span<const std::string> skipped) {
  std::lock_guard lock(registry().mutex);
  return select_locked(registry(), choice, skipped);
}

std::string devices_json(const AdapterChoice& choice) {
  Registry& all = registry();
  std::lock_guard lock(all.mutex);
  const Result<SelectedAdapter> selected = select_locked(all, choice, {});
  JsonWriter json;
  json.begin_object().key("providers").begin_array();
  std::uint32_t index = 0;
  for (auto& provider : all.providers) {
    Result<std::span<const AdapterDescription>> adapters = provider->adapters();
    json.begin_object().member("name", provider->name()).member("source", provider->source());
    json.member("implementation", provider->is_open() ? provider->api().implementation() : "");
    json.member("status", !adapters             ? adapters.error().message
                          : adapters->empty()   ? std::string("no adapter")
                                                : std::string("ok"));
    json.key("adapters").begin_array();
    if (adapters) {
      for (AdapterDescription adapter : *adapters) {
        adapter.index = index++;
        write_adapter(json, adapter);
      }
    }
    json.end_array().end_object();
  }
  json.end_array().key("selected");
  if (selected) {
    write_adapter(json, selected->adapter);
  } else {
    json.null().member("error", selected.error().message);
  }
  return json.end_object().take();
}

}  // namespace etwebgpu
