// libexecutorch_backend_webgpu: the delegate that the Vulkan and WebGPU partitioners write, on
// WebGPU.
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/platform/platform.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "capi/delegate.h"
#include "capi/last_error.h"
#include "capi/options.h"
#include "executorch/events.h"
#include "executorch/named_data.h"
#include "executorch/report.h"
#include "executorch/values.h"

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

// What ExecuTorch holds for a delegate.
using Handle = std::shared_ptr<Runner>;

// The partitioner's compile options concern its own choice of memory layouts: nothing to heed here.
Result<Handle*> load(et::BackendInitContext& context, et::FreeableBuffer& processed) {
  TRY_ASSIGN(const Options options, options_for(context));
  const auto blob = processed.data_safe();
  CHECK_OR_FAIL(blob.ok() && *blob != nullptr, ErrorKind::InvalidProgram,
                "the delegate has no data");
  NamedData named(context.get_named_data_map(), options.data_files);
  TRY_ASSIGN(auto runner, load_delegate({static_cast<const std::byte*>(*blob), processed.size()},
                                        named, options, context.event_tracer() != nullptr));
  processed.Free();
  auto handle = std::make_unique<Handle>(std::move(runner));
  note_delegate(*handle);
  return handle.release();
}

Result<void> run(et::BackendExecutionContext& context, Runner& runner, et::Span<et::EValue*> args) {
  const Graph& graph = runner.model().graph();
  const std::size_t in = graph.inputs.size();
  const std::size_t out = graph.outputs.size();
  // Not judged at load: a blob exported without alias_buffer_mutations looks like any other, with
  // the new contents of a buffer as one more output. Only the program's call shows that nobody
  // takes it, and ExecuTorch gives init the blob but not the calls.
  CHECK_OR_FAIL(args.size() == in + out, ErrorKind::InvalidProgram, "the delegate has ", in,
                " inputs and ", out, " outputs, but the program calls it with ", args.size(),
                " values; a model with mutable buffers needs the partitioner's option "
                "alias_buffer_mutations");
  std::vector<HostTensor> inputs;
  inputs.reserve(in);
  for (std::size_t i = 0; i < in; ++i) {
    TRY_ASSIGN(HostTensor tensor, read_value(i, *args[i]));
    inputs.push_back(tensor);
  }
  ValueOutputs outputs({args.data() + in, out});
  const et_timestamp_t begin = et::pal_current_ticks();
  TRY(runner.execute(inputs, outputs));
  if (context.event_tracer() != nullptr) {
    log_events(*context.event_tracer(), runner, begin, et::pal_current_ticks());
  }
  return {};
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
                                       et::ArrayRef<et::CompileSpec>) const override {
    const auto runner = without_exceptions([&] { return load(context, *processed); });
    if (!runner) return report(where("loading", context.get_method_name()), runner.error());
    return static_cast<et::DelegateHandle*>(*runner);
  }

  et::Error execute(et::BackendExecutionContext& context, et::DelegateHandle* handle,
                    et::Span<et::EValue*> args) const override {
    if (handle == nullptr) return et::Error::DelegateInvalidHandle;
    const auto done =
        without_exceptions([&] { return run(context, **static_cast<Handle*>(handle), args); });
    if (!done) return report(where("running", context.get_method_name()), done.error());
    return et::Error::Ok;
  }

  void destroy(et::DelegateHandle* handle) const override { delete static_cast<Handle*>(handle); }

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
