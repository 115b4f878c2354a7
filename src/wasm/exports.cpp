#include "wasm/exports.h"

#include <cstdlib>
#include <string>

#include "base/capabilities_json.h"
#include "base/json.h"
#include "base/json_value.h"
#include "base/quote.h"
#include "format/delegate.h"
#include "format/program.h"
#include "kernels/kernel_source.h"
#include "plan/model.h"
#include "plan/plan_json.h"

using namespace etwebgpu;

namespace {

std::string result;
const Model* current_model = nullptr;
const Plan* current_plan = nullptr;  // of that model
std::uint32_t plans_numbered = 0;

template <typename T>
bool keep(Result<T> text) {
  result = text ? *std::move(text) : std::move(text.error().message);
  return text.has_value();
}

std::span<const std::byte> bytes_of(const std::uint8_t* data, std::uint32_t size) {
  return std::as_bytes(std::span(data, size));
}

// --- JSON ---

template <typename Items, typename Write>
void write_array(JsonWriter& json, std::string_view name, const Items& items, Write write) {
  json.key(name).begin_array();
  for (const auto& item : items) write(item);
  json.end_array();
}

void write_program_value(JsonWriter& json, const ProgramValue& value) {
  if (const auto* tensor = std::get_if<ProgramTensor>(&value)) {
    json.begin_object().member("dtype", tensor->dtype_name);
    write_array(json, "sizes", tensor->sizes, [&](std::int64_t extent) { json.value(extent); });
    json.member("dynamic", tensor->dynamism != Dynamism::Static).end_object();
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    json.value(*integer);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    json.value(*flag);
  } else if (const auto* number = std::get_if<double>(&value)) {
    json.value(*number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    json.value(*text);
  } else {
    json.null();
  }
}

// Where bytes are in the file that was read.
void write_range(JsonWriter& json, std::span<const std::byte> file,
                 std::span<const std::byte> part) {
  json.member("offset", part.empty() ? 0 : part.data() - file.data()).member("size", part.size());
}

std::string program_json(const Program& program, std::span<const std::byte> file) {
  JsonWriter json;
  json.begin_object();
  write_array(json, "methods", program.methods(), [&](const Method& method) {
    json.begin_object().member("name", method.name);
    json.member("kernel_calls", method.kernel_calls)
        .member("delegate_calls", method.delegate_calls);
    const auto write_value = [&](const ProgramValue& v) { write_program_value(json, v); };
    write_array(json, "inputs", method.inputs, write_value);
    write_array(json, "outputs", method.outputs, write_value);
    write_array(json, "delegates", method.delegates, [&](const ProgramDelegate& delegate) {
      json.begin_object().member("backend", delegate.backend);
      write_range(json, file, delegate.blob);
      json.end_object();
    });
    json.end_object();
  });
  write_array(json, "named_data", program.named_data(), [&](const auto& entry) {
    json.begin_object().member("key", entry.first);
    write_range(json, file, entry.second);
    json.end_object();
  });
  json.end_object();
  return json.take();
}

// --- Arguments ---

struct Settings {
  Capabilities capabilities;
  ModelOptions options;
};

Result<FloatType> float_type(std::string_view option, const Json& json) {
  const std::string* text = json.text();
  const bool is_f16 = text && *text == "f16";
  CHECK_OR_FAIL(is_f16 || (text && *text == "f32"), ErrorKind::InvalidArgument, "option '", option,
                "' must be f32 or f16");
  return is_f16 ? FloatType::F16 : FloatType::F32;
}

// {"capabilities": {...}, "options": {"kv_cache_dtype": "f16", "matmul_dtype": "f32"}}
Result<Settings> settings_of(std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  Settings out;
  if (const Json* capabilities = json.find("capabilities")) {
    TRY_ASSIGN(out.capabilities, read_capabilities(*capabilities));
  }
  const Json* options = json.find("options");
  if (!options || !options->members()) return out;
  for (const auto& [name, value] : *options->members()) {
    CHECK_OR_FAIL(name == "kv_cache_dtype" || name == "matmul_dtype", ErrorKind::InvalidArgument,
                  "there is no option ", quoted(name));
    FloatType& type = name == "matmul_dtype" ? out.options.matmul : out.options.kv_cache;
    TRY_ASSIGN(type, float_type(name, value));
  }
  return out;
}

Result<HostInput> host_input(const EtwgInput& input, std::vector<std::int64_t>& elements) {
  CHECK_OR_FAIL(input.rank <= kMaxRank, ErrorKind::InvalidArgument, "an input has rank ",
                input.rank, ", but ", kMaxRank, " is the most");
  HostInput out;
  for (std::uint32_t i = 0; i < input.rank; ++i) out.sizes.push_back(input.sizes[i]);
  elements.assign(input.elements, input.elements + input.element_count);
  out.elements = elements;
  out.scalar = input.scalar;
  return out;
}

Result<std::uint32_t> prepare(Model& model, std::span<const EtwgInput> inputs) {
  std::vector<HostInput> host;
  std::vector<std::vector<std::int64_t>> elements(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    TRY_ASSIGN(HostInput converted, host_input(inputs[i], elements[i]));
    host.push_back(std::move(converted));
  }
  TRY_ASSIGN(current_plan, model.prepare(host));
  current_model = &model;
  // Plans come and go in the model's cache; a number of its own tells a new one from an old one.
  if (!current_plan->replay)
    current_plan->replay = std::make_shared<std::uint32_t>(++plans_numbered);
  return *static_cast<const std::uint32_t*>(current_plan->replay.get());
}

Result<std::string> pack(const PackedConstant& constant, std::span<const EtwgBytes> sources,
                         std::uint64_t offset, std::span<std::byte> out) {
  TRY_ASSIGN(const std::uint64_t bytes, packed_size(constant));
  CHECK_OR_FAIL(offset % 16 == 0 && out.size() % 16 == 0 && range_fits(offset, out.size(), bytes),
                ErrorKind::InvalidArgument, "bytes [", offset, ", ", offset + out.size(),
                ") are not aligned to 16 inside the constant's ", bytes);
  CHECK_OR_FAIL(sources.size() == constant.parts.size(), ErrorKind::InvalidArgument,
                "the constant has ", constant.parts.size(), " parts, but ", sources.size(),
                " sources were given");
  std::vector<std::span<const std::byte>> spans;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const std::uint64_t needed = source_size(constant.parts[i]);
    CHECK_OR_FAIL(sources[i].size >= needed, ErrorKind::InvalidArgument, "part ", i, " needs ",
                  needed, " bytes, but ", sources[i].size, " were given");
    spans.push_back(bytes_of(sources[i].data, sources[i].size));
  }
  pack_range(constant, spans, offset, out);
  return std::string();
}

}  // namespace

#define EXPORT(name) __attribute__((export_name(#name)))

extern "C" {

EXPORT(etwg_alloc) void* etwg_alloc(std::uint32_t size) { return std::malloc(size); }
EXPORT(etwg_free) void etwg_free(void* memory) { std::free(memory); }
EXPORT(etwg_result) const char* etwg_result() { return result.data(); }
EXPORT(etwg_result_size) std::uint32_t etwg_result_size() {
  return static_cast<std::uint32_t>(result.size());
}

EXPORT(etwg_program) bool etwg_program(const std::uint8_t* data, std::uint32_t size) {
  const auto file = bytes_of(data, size);
  auto program = Program::read(file);
  if (!program) return keep(Result<std::string>(std::unexpected(std::move(program).error())));
  result = program_json(*program, file);
  return true;
}

EXPORT(etwg_load)
Model* etwg_load(const std::uint8_t* blob, std::uint32_t size, const char* device,
                 std::uint32_t device_size) {
  const auto load = [&] -> Result<std::unique_ptr<Model>> {
    TRY_ASSIGN(const Settings settings, settings_of({device, device_size}));
    TRY_ASSIGN(Graph graph, decode_delegate(bytes_of(blob, size)));
    return Model::create(std::move(graph), settings.capabilities, settings.options);
  };
  auto model = load();
  if (model) return model->release();
  result = std::move(model.error().message);
  return nullptr;
}
EXPORT(etwg_unload) void etwg_unload(Model* model) {
  current_plan = nullptr;
  delete model;
}
EXPORT(etwg_model_json) void etwg_model_json(const Model* model) {
  JsonWriter json;
  json.begin_object();
  write_model(json, *model);
  result = json.end_object().take();
}

EXPORT(etwg_prepare)
std::uint32_t etwg_prepare(Model* model, const EtwgInput* inputs, std::uint32_t count) {
  current_plan = nullptr;
  auto number = prepare(*model, std::span(inputs, count));
  if (number) return *number;
  current_plan = nullptr;
  result = std::move(number.error().message);
  return 0;
}
EXPORT(etwg_plan_json) void etwg_plan_json() {
  JsonWriter json;
  if (current_plan == nullptr) {
    json.null();
  } else {
    json.begin_object();
    write_plan(json, *current_model, *current_plan);
    json.end_object();
  }
  result = json.take();
}
EXPORT(etwg_plan_uniforms) void etwg_plan_uniforms() {
  result.clear();
  if (current_plan == nullptr) return;
  const auto& bytes = current_plan->uniforms;
  result.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

EXPORT(etwg_kernel_count) std::uint32_t etwg_kernel_count(const Model* model) {
  return static_cast<std::uint32_t>(model->kernels().size());
}
EXPORT(etwg_kernel)
bool etwg_kernel(const Model* model, std::uint32_t index, std::uint32_t dialect) {
  if (index >= model->kernels().size()) {
    result = cat("the model has ", model->kernels().size(), " kernels, not one numbered ", index);
    return false;
  }
  return keep(kernel_source(model->kernels()[index], static_cast<WgslDialect>(dialect)));
}

EXPORT(etwg_scalars) const std::int32_t* etwg_scalars(const Model* model) {
  return model->scalar_values().data();
}
EXPORT(etwg_dirty) const std::uint8_t* etwg_dirty(const Model* model) {
  return model->scalar_dirty().data();
}
EXPORT(etwg_clear_dirty) void etwg_clear_dirty(Model* model) { model->clear_dirty(); }

EXPORT(etwg_pack)
bool etwg_pack(const Model* model, bool state, std::uint32_t index, const EtwgBytes* sources,
               std::uint32_t source_count, std::uint32_t offset, std::uint8_t* out,
               std::uint32_t size) {
  const std::size_t count = state ? model->states().size() : model->constants().size();
  if (index >= count) {
    result = cat("the model has ", count, state ? " states" : " constants", ", not one numbered ",
                 index);
    return false;
  }
  const PackedConstant& constant =
      state ? model->states()[index].initial : model->constants()[index];
  return keep(pack(constant, std::span(sources, source_count), offset,
                   std::as_writable_bytes(std::span(out, size))));
}

}  // extern "C"
