// libexecutorch_backend_webgpu: the delegate that the Vulkan and WebGPU partitioners write, on
// WebGPU.
#include <executorch/runtime/backend/interface.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/quote.h"
#include "capi/delegate.h"
#include "capi/json_value.h"
#include "capi/last_error.h"
#include "capi/options.h"
#include "executorch/delegate_call.h"
#include "executorch/report.h"

namespace etwebgpu {
namespace {

namespace et = executorch::runtime;

// What partitioned programs name as their backend.
constexpr const char* kBackendName = "VulkanBackend";

// Weights in ExecuTorch's named data. Each buffer is freed as soon as it is on the GPU.
class NamedData final : public NamedDataSource {
 public:
  explicit NamedData(const et::NamedDataMap* map) : map_(map) {}

  Result<std::span<const std::byte>> fetch(std::int32_t index, const std::string& key) override {
    CHECK_OR_FAIL(map_ != nullptr, ErrorKind::InvalidArgument,
                  "the program keeps its weights in a .ptd file, which was not given");
    et::Result<et::FreeableBuffer> data = map_->get_data(key);
    CHECK_OR_FAIL(data.ok(), ErrorKind::InvalidArgument, "neither the program nor its .ptd ",
                  "file holds it (", et::to_string(data.error()), ")");
    const auto [entry, added] = held_.emplace(index, std::move(data.get()));
    const auto bytes = entry->second.data_safe();
    CHECK_OR_FAIL(added && bytes.ok(), ErrorKind::Internal, "its bytes are not in host memory");
    return std::span(static_cast<const std::byte*>(*bytes), entry->second.size());
  }

  void release(std::int32_t index) override { held_.erase(index); }

  // Where the program has the key itself: "owned by the DataMap", and each program has its own.
  const void* identity(const std::string& key) override {
    if (map_ != nullptr && places_.empty()) find_places();
    const auto place = places_.find(key);
    return place == places_.end() ? nullptr : place->second;
  }

 private:
  void find_places() {
    const et::Result<std::uint32_t> count = map_->get_num_keys();
    for (std::uint32_t i = 0; count.ok() && i < *count; ++i) {
      const et::Result<const char*> key = map_->get_key(i);
      if (key.ok()) places_.emplace(*key, *key);
    }
  }

  const et::NamedDataMap* map_;
  std::unordered_map<std::string, const void*> places_;
  std::map<std::int32_t, et::FreeableBuffer> held_;
};

std::string text_of(const et::OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "1" : "0";
  if (const auto* number = std::get_if<int>(&value)) return cat(*number);
  const auto& text = std::get<std::array<char, et::kMaxOptionValueLength>>(value);
  return std::string(text.data(), strnlen(text.data(), text.size()));
}

Result<Options> options_for(const et::BackendInitContext& context) {
  std::vector<OptionText> specs;
  for (const et::BackendOption& spec : context.runtime_specs()) {
    specs.emplace_back(std::string(spec.key, strnlen(spec.key, sizeof spec.key)),
                       text_of(spec.value));
  }
  return resolve_options(specs);
}

using CompileSpecs = et::ArrayRef<et::CompileSpec>;

// The bytes of a compile spec, or none.
std::string_view spec_text(CompileSpecs specs, std::string_view key) {
  for (const et::CompileSpec& spec : specs)
    if (key == spec.key) return {static_cast<const char*>(spec.value.buffer), spec.value.nbytes};
  return {};
}

// Names of buffers by constant, which our own exporter adds: {"3": "forward.cache"}.
Result<std::map<std::int32_t, std::string>> state_names(CompileSpecs specs) {
  constexpr std::string_view kKey = "etwebgpu.states";
  std::map<std::int32_t, std::string> names;
  const std::string_view text = spec_text(specs, kKey);
  if (text.empty()) return names;
  TRY_ASSIGN(const Json json, Json::parse(text));
  CHECK_OR_FAIL(json.members() != nullptr, ErrorKind::InvalidProgram, kKey, " is no JSON object");
  for (const auto& [index, name] : *json.members()) {
    std::int32_t constant = -1;
    const auto end = std::from_chars(index.data(), index.data() + index.size(), constant).ptr;
    CHECK_OR_FAIL(end == index.data() + index.size() && constant >= 0 && name.text() != nullptr,
                  ErrorKind::InvalidProgram, kKey, ": ", quoted(index), " names no constant");
    names[constant] = *name.text();
  }
  return names;
}

// Of the partitioner's compile options only one matters: most are about its choice of memory
// layouts.
Result<DelegateCall*> load(et::BackendInitContext& context, et::FreeableBuffer& processed,
                           CompileSpecs specs) {
  TRY_ASSIGN(const Options options, options_for(context));
  const auto data = processed.data_safe();
  CHECK_OR_FAIL(data.ok() && *data != nullptr, ErrorKind::InvalidProgram,
                "the delegate has no data");
  const std::span blob(static_cast<const std::byte*>(*data), processed.size());
  const std::string_view text(static_cast<const char*>(*data), blob.size());
  const std::string_view alias = spec_text(specs, "alias_buffer_mutations");
  const bool aliased = !alias.empty() && alias[0] != 0;
  StateOrigin origin;
  origin.method = context.get_method_name() == nullptr ? "" : context.get_method_name();
  origin.blob_hash = std::hash<std::string_view>()(text);
  TRY_ASSIGN(origin.names, state_names(specs));
  // The blob and the data map live as long as the method.
  const auto load_again = [=, map = context.get_named_data_map(),
                           trace = context.event_tracer() != nullptr](
                              const DelegateStates* before) -> Result<LoadedDelegate> {
    NamedData named(map);
    TRY_ASSIGN(LoadedDelegate loaded,
               load_delegate({blob, named, aliased, origin}, options, trace, before));
    note_delegate(loaded.runner);
    return loaded;
  };
  TRY_ASSIGN(LoadedDelegate loaded, load_again(nullptr));
  return new DelegateCall(std::move(loaded), aliased, [load_again](const DelegateStates& before) {
    return load_again(&before);
  });
}

std::string where(std::string_view doing, const char* method) {
  return cat("WebGPU backend, ", doing, " '", method == nullptr ? "" : method, "'");
}

class Backend final : public et::BackendInterface {
 public:
  // Whether there is an adapter depends on options that come with the model; init says what is
  // missing.
  bool is_available() const override { return true; }

  et::Result<et::DelegateHandle*> init(et::BackendInitContext& context,
                                       et::FreeableBuffer* processed,
                                       CompileSpecs specs) const override {
    const auto call = without_exceptions([&] { return load(context, *processed, specs); });
    if (!call) return report(where("loading", context.get_method_name()), call.error());
    return static_cast<et::DelegateHandle*>(*call);
  }

  et::Error execute(et::BackendExecutionContext& context, et::DelegateHandle* handle,
                    et::Span<et::EValue*> args) const override {
    if (handle == nullptr) return et::Error::DelegateInvalidHandle;
    const auto done = without_exceptions([&] {
      return static_cast<DelegateCall*>(handle)->run(context, {args.data(), args.size()});
    });
    if (!done) return report(where("running", context.get_method_name()), done.error());
    return et::Error::Ok;
  }

  void destroy(et::DelegateHandle* handle) const override {
    delete static_cast<DelegateCall*>(handle);
  }

  et::Error set_option(et::BackendOptionContext&,
                       const et::Span<et::BackendOption>& options) override {
    for (const et::BackendOption& option : options) {
      const auto done = without_exceptions(
          [&] { return etwebgpu::set_option(option.key, text_of(option.value)); });
      if (!done) return report("WebGPU backend, setting an option", done.error());
    }
    return et::Error::Ok;
  }

  // Fills each known key's value: a bool for "profiling", else a text.
  et::Error get_option(et::BackendOptionContext&, et::Span<et::BackendOption>& options) override {
    const auto done = without_exceptions([&] -> Result<void> {
      for (et::BackendOption& option : options) TRY(fill(option));
      return {};
    });
    return done ? et::Error::Ok : report("WebGPU backend, getting an option", done.error());
  }

 private:
  static Result<void> fill(et::BackendOption& option) {
    const std::string_view key = option.key;
    CHECK_OR_FAIL(std::ranges::find(option_keys(), key) != option_keys().end(),
                  ErrorKind::InvalidArgument, "unknown option '", key, "'");
    TRY_ASSIGN(const Options options, resolve_options({}));
    if (key == "profiling") {
      option.value = options.profiling;
      return {};
    }
    std::array<char, et::kMaxOptionValueLength> text = {};
    const std::string value = option_text(key);
    std::copy_n(value.begin(), std::min(value.size(), text.size() - 1), text.begin());
    option.value = text;
    return {};
  }
};

// Loading the library registers the backend. There is no way to take it back: never unload it.
[[maybe_unused]] const bool registered = [] {
  static Backend backend;
  const et::Error error = et::register_backend({kBackendName, &backend});
  if (error == et::Error::Ok) return true;
  const auto why = fail(ErrorKind::Internal, "ExecuTorch refused it (", et::to_string(error),
                        "); is another library already registered as ", kBackendName, "?");
  report("registering the WebGPU backend", why.error());
  return false;
}();

}  // namespace
}  // namespace etwebgpu
