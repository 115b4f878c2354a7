// Which providers there are, and which adapter to take.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "base/json.h"
#include "webgpu/provider.h"

namespace etwebgpu {

namespace {

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
    {0x00050034, "chromium-experimental-subgroup-matrix"},
};

// The limits a compute runtime depends on, by their WebGPU names.
struct LimitText {
  std::string_view text;
  std::uint64_t (*get)(const WGPULimits&);
};
#define ETWG_LIMIT(member) {#member, [](const WGPULimits& l) -> std::uint64_t { return l.member; }}
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

}  // namespace

Result<void> register_provider(std::string_view name, std::span<const char* const> symbols,
                               std::span<void* const> addresses) {
  CHECK_OR_FAIL(!name.empty() && symbols.size() == addresses.size(), ErrorKind::InvalidArgument,
                "a provider needs a name and one address per symbol (", symbols.size(),
                " symbols, ", addresses.size(), " addresses)");
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
    CHECK_OR_FAIL(
        !all.providers.empty(), ErrorKind::DeviceLost,
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
    text +=
        cat(text.empty() ? "offers " : ", ", adapter.name, " (", name(adapter.adapter_class), ")");
  }
  return text.empty() ? "no adapter" : text;
}

Result<SelectedAdapter> select_locked(Registry& all, const AdapterChoice& choice,
                                      std::span<const std::string> skipped) {
  TRY(ensure_registered(all, choice.provider));
  const bool count_all =
      as_index(choice.adapter).has_value();  // indices count every provider's adapters
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
    const bool settled =
        best && (best->adapter.adapter_class != AdapterClass::Software || !choice.adapter.empty());
    if (settled) break;
  }
  if (best) return *std::move(best);
  if (!choice.adapter.empty() && index > 0)
    return fail(ErrorKind::DeviceLost, "no WebGPU adapter matches '", choice.adapter, "' (", tried,
                ")");
  return fail(ErrorKind::DeviceLost, "no WebGPU adapter was found (", tried,
              "); install a GPU driver with Vulkan, or a software one such as Debian's "
              "mesa-vulkan-drivers");
}

void write_adapter(JsonWriter& json, const AdapterDescription& adapter, const Provider& provider,
                   const MoreOfAdapter& more) {
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
  json.end_array();
  if (more) more(json, adapter, provider.api().implementation());
  json.end_object();
}

}  // namespace

Result<SelectedAdapter> select_adapter(const AdapterChoice& choice,
                                       std::span<const std::string> skipped) {
  std::lock_guard lock(registry().mutex);
  return select_locked(registry(), choice, skipped);
}

std::string devices_json(const AdapterChoice& choice, const MoreOfAdapter& more) {
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
    json.member("status", !adapters           ? adapters.error().message
                          : adapters->empty() ? std::string("no adapter")
                                              : std::string("ok"));
    json.key("adapters").begin_array();
    if (adapters) {
      for (AdapterDescription adapter : *adapters) {
        adapter.index = index++;
        write_adapter(json, adapter, *provider, more);
      }
    }
    json.end_array().end_object();
  }
  json.end_array().key("selected");
  if (selected) {
    write_adapter(json, selected->adapter, *selected->provider, more);
  } else {
    json.null().member("error", selected.error().message);
  }
  return json.end_object().take();
}

}  // namespace etwebgpu
