// libexecutorch_backend_webgpu: the delegate that the Vulkan and WebGPU partitioners write, on
// WebGPU.
#include <executorch/runtime/backend/interface.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "capi/delegate.h"
#include "capi/last_error.h"
#include "capi/options.h"
#include "executorch/delegate_call.h"
#include "executorch/named_data.h"
#include "executorch/report.h"

namespace etwebgpu {
namespace {

namespace et = executorch::runtime;

// What partitioned programs name as their backend.
constexpr const char* kBackendName = "VulkanBackend";

// ExecuTorch cuts texts that are too long without a word.
Result<OptionText> text_of(const et::BackendOption& option) {
  std::string key(option.key, strnlen(option.key, sizeof option.key));
  if (const auto* flag = std::get_if<bool>(&option.value))
    return OptionText(key, *flag ? "1" : "0");
  if (const auto* number = std::get_if<int>(&option.value)) return OptionText(key, cat(*number));
  const auto& text = std::get<std::array<char, et::kMaxOptionValueLength>>(option.value);
  const std::size_t length = strnlen(text.data(), text.size());
  CHECK_OR_FAIL(length < text.size() - 1, ErrorKind::InvalidArgument, "option ", key,
                ": ExecuTorch's options carry ", text.size() - 2,
                " characters, and this text may have been cut: use etwg_set_option or the "
                "environment, or for data_files name their folder");
  return OptionText(std::move(key), std::string(text.data(), length));
}

Result<Options> options_for(const et::BackendInitContext& context) {
  std::vector<OptionText> specs;
  for (const et::BackendOption& spec : context.runtime_specs()) {
    TRY_ASSIGN(specs.emplace_back(), text_of(spec));
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

// The program's first key, which is "owned by the DataMap": each program has its own.
const void* program_of(const et::NamedDataMap* map) {
  if (map == nullptr) return nullptr;
  const et::Result<const char*> key = map->get_key(0);
  return key.ok() ? *key : nullptr;
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
  origin.program = program_of(context.get_named_data_map());
  origin.method = context.get_method_name() == nullptr ? "" : context.get_method_name();
  origin.blob_hash = std::hash<std::string_view>()(text);
  TRY_ASSIGN(origin.names, parse_state_names(spec_text(specs, kStateNames)));
  const auto shares = origin.program == nullptr ? std::nullopt : std::optional(origin);
  // The blob and the data map live as long as the method.
  const auto load_again = [=, map = context.get_named_data_map(),
                           trace = context.event_tracer() != nullptr](
                              const DelegateStates* before) -> Result<LoadedDelegate> {
    NamedData named(map, options.data_files);
    TRY_ASSIGN(LoadedDelegate loaded,
               load_delegate({blob, named, aliased, shares}, options, trace, before));
    for (const std::string& notice : loaded.notices) log_notice(notice);
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
      const auto done = without_exceptions([&] -> Result<void> {
        TRY_ASSIGN(const auto setting, text_of(option));
        return etwebgpu::set_option(setting.first, setting.second);
      });
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
