#include "etwebgpu/c_api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/checked.h"
#include "base/text.h"
#include "capi/compile.h"
#include "capi/data_files.h"
#include "capi/delegate.h"
#include "capi/inspect.h"
#include "capi/kept_verdicts.h"
#include "capi/last_error.h"
#include "capi/notices.h"
#include "capi/options.h"
#include "capi/plan_layers.h"
#include "capi/user_operator.h"
#include "capi/utf8.h"
#include "plan/plan_json.h"
#include "webgpu/provider.h"

using namespace etwebgpu;

namespace {

// Runs `work`, a function giving a Result, so that nothing but its value or `failure` comes out.
template <typename T, typename Work>
T guarded(T failure, Work&& work) noexcept {
  try {
    try {
      auto result = work();
      if (result) return *std::move(result);
      set_last_error(result.error().message, result.error().kind);
    } catch (const std::bad_alloc&) {
      set_last_error("the host is out of memory");
    } catch (const std::exception& error) {
      set_last_error(cat("unexpected exception: ", error.what()));
    }
  } catch (...) {  // not even memory for the sentence
  }
  return failure;
}

// For functions that give 0 on success.
template <typename Work>
int status_of(Work&& work) noexcept {
  return guarded(1, [&] -> Result<int> {
    TRY(work());
    return 0;
  });
}

// Texts live until the thread's next call.
const char* keep(const std::string& text) {
  thread_local std::string kept;
  kept = to_utf8(text);
  return kept.c_str();
}

Result<std::string> text_argument(std::string_view name, const char* text) {
  CHECK_OR_FAIL(text != nullptr, ErrorKind::InvalidArgument, name, " is null");
  return std::string(text);
}

class CallerData final : public NamedDataSource {
 public:
  CallerData(const etwg_named_data* entries, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      bytes_[entries[i].key] = {static_cast<const std::byte*>(entries[i].data), entries[i].size};
    }
  }
  Result<std::span<const std::byte>> fetch(std::int32_t, const std::string& key) override {
    const auto found = bytes_.find(key);
    CHECK_OR_FAIL(found != bytes_.end(), ErrorKind::InvalidArgument, "not among the ",
                  bytes_.size(), " named data given");
    return found->second;
  }
  void release(std::int32_t) override {}

 private:
  std::unordered_map<std::string, std::span<const std::byte>> bytes_;
};

constexpr std::int32_t kScalar = 100;

Result<HostTensor> read_input(std::size_t index, const etwg_tensor& in) {
  HostTensor out;
  if (in.dtype == kScalar) {
    CHECK_OR_FAIL(in.data != nullptr && in.capacity >= sizeof(std::int64_t),
                  ErrorKind::InvalidArgument, "input ", index, ": a scalar needs 8 bytes");
    out.is_scalar = true;
    std::memcpy(&out.scalar, in.data, sizeof out.scalar);
    return out;
  }
  CHECK_OR_FAIL(in.dtype >= 0 && in.dtype < static_cast<std::int32_t>(kDTypeCount),
                ErrorKind::InvalidArgument, "input ", index, ": unknown dtype ", in.dtype);
  CHECK_OR_FAIL(in.rank >= 0 && in.rank <= static_cast<std::int32_t>(kMaxRank),
                ErrorKind::InvalidArgument, "input ", index, ": rank ", in.rank);
  out.dtype = static_cast<DType>(in.dtype);
  std::uint64_t bytes = byte_size(out.dtype);
  for (std::int32_t i = 0; i < in.rank; ++i) {
    out.sizes.push_back(in.sizes[i]);
    const auto product = checked_mul(bytes, static_cast<std::uint64_t>(in.sizes[i]));
    CHECK_OR_FAIL(in.sizes[i] >= 0 && product, ErrorKind::InvalidArgument, "input ", index,
                  ": extent ", in.sizes[i]);
    bytes = *product;
  }
  CHECK_OR_FAIL(bytes == 0 || (in.data != nullptr && bytes <= in.capacity),
                ErrorKind::InvalidArgument, "input ", index, " of sizes ", to_string(out.sizes),
                " needs ", bytes, " bytes and brings ", in.data != nullptr ? in.capacity : 0);
  out.data = {static_cast<const std::byte*>(in.data), bytes};
  return out;
}

class CallerOutputs final : public OutputSink {
 public:
  explicit CallerOutputs(std::span<etwg_tensor> outputs) : outputs_(outputs) {}

  Result<void> place(std::size_t index, DType recorded, const Dims& sizes,
                     std::vector<HostDestination>& to) override {
    etwg_tensor& out = outputs_[index];
    const std::uint64_t bytes = static_cast<std::uint64_t>(sizes.numel()) * byte_size(recorded);
    out.dtype = static_cast<std::int32_t>(recorded);
    out.rank = static_cast<std::int32_t>(sizes.rank());
    std::ranges::copy(sizes, out.sizes);
    if (out.data == nullptr) return {};
    CHECK_OR_FAIL(bytes <= out.capacity, ErrorKind::InvalidArgument, "output ", index, " of sizes ",
                  to_string(sizes), " needs ", bytes, " bytes, but there is room for ",
                  out.capacity);
    to.push_back({recorded, sizes, {}, {static_cast<std::byte*>(out.data), bytes}});
    return {};
  }

  // The caller learns the type from the result.
  bool wants_wide(std::size_t) const override { return false; }

  Result<void> scalar(std::size_t index, std::int64_t value) override {
    etwg_tensor& out = outputs_[index];
    out.dtype = kScalar;
    out.rank = 0;
    if (out.data == nullptr) return {};
    CHECK_OR_FAIL(out.capacity >= sizeof value, ErrorKind::InvalidArgument, "output ", index,
                  ": a scalar needs 8 bytes");
    std::memcpy(out.data, &value, sizeof value);
    return {};
  }

 private:
  std::span<etwg_tensor> outputs_;
};

}  // namespace

struct etwg_compilation {
  std::unique_ptr<Compilation> compiled;
};

struct etwg_model {
  std::shared_ptr<Runner> runner;
};

namespace {

Result<void> execute(etwg_model& model, std::span<const etwg_tensor> inputs,
                     std::span<etwg_tensor> outputs) {
  const std::size_t wanted = model.runner->model().graph().outputs.size();
  CHECK_OR_FAIL(outputs.size() == wanted, ErrorKind::InvalidArgument, "the model gives ", wanted,
                " outputs, but there is room for ", outputs.size());
  std::vector<HostTensor> tensors;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    TRY_ASSIGN(HostTensor tensor, read_input(i, inputs[i]));
    tensors.push_back(tensor);
  }
  CallerOutputs sink(outputs);
  return model.runner->execute(tensors, sink);
}

Result<std::string> profile(etwg_model& model) {
  const Runner& runner = *model.runner;
  const auto held = runner.hold();
  CHECK_OR_FAIL(runner.last_plan() != nullptr, ErrorKind::InvalidArgument,
                "the model has not been executed");
  JsonWriter json;
  json.begin_object().member("gpu_bytes", runner.gpu_bytes());
  const HostTimes& host = runner.host_times();
  json.key("host_microseconds").begin_object();
  json.member("prepare", host.prepare).member("encode", host.encode);
  json.member("ahead", host.ahead);
  json.member("wait", host.wait).member("read", host.read).end_object();
  const std::span<const DispatchTime> times = runner.times();
  write_plan(json, runner.model(), *runner.last_plan(), [&](JsonWriter& dispatch, std::size_t i) {
    if (i >= times.size()) return;
    dispatch.member("begin_microseconds", times[i].begin);
    dispatch.member("microseconds", times[i].microseconds);
  });
  write_layers(json, runner.model(), *runner.last_plan());
  return json.end_object().take();
}

}  // namespace

int etwg_register_provider(const char* name, const char* const* symbols, void* const* addresses,
                           size_t count) {
  return status_of([&] -> Result<void> {
    TRY_ASSIGN(const std::string text, text_argument("name", name));
    CHECK_OR_FAIL(count == 0 || (symbols != nullptr && addresses != nullptr),
                  ErrorKind::InvalidArgument, "symbols or addresses is null");
    note_provider_registered();
    return register_provider(text, std::span(symbols, count), std::span(addresses, count));
  });
}

int etwg_register_provider_library(const char* name, const char* path) {
  return status_of([&] -> Result<void> {
    TRY_ASSIGN(const std::string text, text_argument("name", name));
    TRY_ASSIGN(const std::string file, text_argument("path", path));
    note_provider_registered();
    return register_provider_library(text, file);
  });
}

int etwg_set_option(const char* key, const char* value) {
  return status_of([&] -> Result<void> {
    TRY_ASSIGN(const std::string text, text_argument("key", key));
    return set_option(text, value == nullptr ? "" : value);
  });
}

int etwg_set_thread_option(const char* key, const char* value) {
  return status_of([&] -> Result<void> {
    TRY_ASSIGN(const std::string text, text_argument("key", key));
    return set_thread_option(text, value == nullptr ? "" : value);
  });
}

int etwg_register_operator(const char* json) {
  return status_of([&] -> Result<void> {
    TRY_ASSIGN(const std::string text, text_argument("json", json));
    return register_user_operator(text);
  });
}

const char* etwg_last_error(void) { return last_error(); }

void etwg_clear_error(void) { set_last_error(""); }

const char* etwg_take_notices(void) {
  return guarded<const char*>(nullptr, [] -> Result<const char*> { return keep(take_notices()); });
}

int etwg_device_lost(void) { return last_error_kind() == ErrorKind::DeviceLost ? 1 : 0; }

const char* etwg_devices_json(void) {
  return guarded<const char*>(nullptr, [] -> Result<const char*> {
    TRY(ensure_providers());
    TRY_ASSIGN(const Options options, resolve_options({}));
    return keep(devices_json({options.provider, options.adapter}, write_self_test));
  });
}

const char* etwg_inspect_json(const char* pte_path, const char* data_files,
                              const char* options_json) {
  return guarded<const char*>(nullptr, [&] -> Result<const char*> {
    TRY_ASSIGN(const std::string pte, text_argument("pte_path", pte_path));
    TRY_ASSIGN(const auto files, parse_data_files(data_files == nullptr ? "" : data_files));
    InspectSettings settings;
    if (options_json != nullptr) {
      TRY_ASSIGN(settings, InspectSettings::parse(options_json));
    }
    TRY_ASSIGN(std::string json, inspect_json(pte, files, settings));
    return keep(json);
  });
}

etwg_compilation* etwg_compile(const char* pte_path, const char* data_files,
                               const char* options_json) {
  return guarded<etwg_compilation*>(nullptr, [&] -> Result<etwg_compilation*> {
    TRY_ASSIGN(const std::string pte, text_argument("pte_path", pte_path));
    TRY_ASSIGN(const auto files, parse_data_files(data_files == nullptr ? "" : data_files));
    TRY_ASSIGN(const auto settings,
               CompileSettings::parse(options_json == nullptr ? "{}" : options_json));
    TRY_ASSIGN(auto compiled, compile(pte, files, settings));
    return new etwg_compilation{std::move(compiled)};
  });
}

const char* etwg_compilation_json(const etwg_compilation* compilation) {
  return guarded<const char*>(nullptr, [&] -> Result<const char*> {
    CHECK_OR_FAIL(compilation != nullptr, ErrorKind::InvalidArgument, "compilation is null");
    return keep(compilation->compiled->json());
  });
}

const void* etwg_compilation_uniforms(const etwg_compilation* compilation, size_t* size) {
  return guarded<const void*>(nullptr, [&] -> Result<const void*> {
    CHECK_OR_FAIL(compilation != nullptr && size != nullptr, ErrorKind::InvalidArgument,
                  "compilation or size is null");
    const auto bytes = compilation->compiled->uniforms();
    *size = bytes.size();
    return static_cast<const void*>(bytes.data());
  });
}

int etwg_compilation_constant(etwg_compilation* compilation, size_t number,
                              int (*take)(void* user, const void* data, size_t size), void* user) {
  return status_of([&] -> Result<void> {
    CHECK_OR_FAIL(compilation != nullptr && take != nullptr, ErrorKind::InvalidArgument,
                  "compilation or take is null");
    return compilation->compiled->read_constant(number, [&](std::span<const std::byte> bytes) {
      return take(user, bytes.data(), bytes.size()) == 0;
    });
  });
}

void etwg_compilation_free(etwg_compilation* compilation) { delete compilation; }

etwg_model* etwg_model_load(const void* blob, size_t blob_size, const etwg_named_data* named,
                            size_t named_count) {
  return guarded<etwg_model*>(nullptr, [&] -> Result<etwg_model*> {
    CHECK_OR_FAIL(blob != nullptr && (named != nullptr || named_count == 0),
                  ErrorKind::InvalidArgument, "blob or named is null");
    TRY_ASSIGN(const Options options, resolve_options({}));
    CallerData data(named, named_count);
    auto model = std::make_unique<etwg_model>();
    const std::span bytes(static_cast<const std::byte*>(blob), blob_size);
    TRY_ASSIGN(LoadedDelegate loaded, load_delegate({bytes, data}, options, false));
    model->runner = std::move(loaded.runner);
    return model.release();
  });
}

size_t etwg_model_input_count(const etwg_model* model) {
  return model == nullptr ? 0 : model->runner->model().graph().inputs.size();
}

size_t etwg_model_output_count(const etwg_model* model) {
  return model == nullptr ? 0 : model->runner->model().graph().outputs.size();
}

int etwg_model_execute(etwg_model* model, const etwg_tensor* inputs, size_t input_count,
                       etwg_tensor* outputs, size_t output_count) {
  return status_of([&] -> Result<void> {
    CHECK_OR_FAIL(model != nullptr && (inputs != nullptr || input_count == 0) &&
                      (outputs != nullptr || output_count == 0),
                  ErrorKind::InvalidArgument, "model, inputs or outputs is null");
    return execute(*model, {inputs, input_count}, {outputs, output_count});
  });
}

const char* etwg_model_profile_json(etwg_model* model) {
  return guarded<const char*>(nullptr, [&] -> Result<const char*> {
    CHECK_OR_FAIL(model != nullptr, ErrorKind::InvalidArgument, "model is null");
    TRY_ASSIGN(std::string json, profile(*model));
    return keep(json);
  });
}

size_t etwg_latest_delegates(etwg_model** models, size_t most) {
  return guarded<size_t>(0, [&] -> Result<size_t> {
    CHECK_OR_FAIL(models != nullptr || most == 0, ErrorKind::InvalidArgument, "models is null");
    std::vector<std::unique_ptr<etwg_model>> found;
    for (auto& runner : latest_delegates(most)) {
      found.push_back(std::make_unique<etwg_model>(std::move(runner)));
    }
    for (std::size_t i = 0; i < found.size(); ++i) models[i] = found[i].release();
    return found.size();
  });
}

int etwg_model_generate(etwg_model* model, int64_t token, int64_t position, size_t count,
                        int (*take)(void* user, int64_t token), void* user) {
  return status_of([&] -> Result<void> {
    CHECK_OR_FAIL(model != nullptr && take != nullptr, ErrorKind::InvalidArgument,
                  "model or take is null");
    return model->runner->generate({token, position, count},
                                   [&](std::int64_t next) { return take(user, next) == 0; });
  });
}

void etwg_model_free(etwg_model* model) { delete model; }
