#include "capi/inspect.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/capabilities_json.h"
#include "base/json.h"
#include "base/json_value.h"
#include "capi/data_files.h"
#include "capi/delegate.h"
#include "capi/inspect_delegate.h"
#include "capi/mapped_file.h"
#include "format/program.h"

namespace etwebgpu {
namespace {

constexpr std::string_view kOurBackend = "VulkanBackend";

// --- The program ---

struct ValueWriter {
  JsonWriter& json;

  void operator()(std::monostate) const { json.begin_object().member("type", "none").end_object(); }
  void operator()(std::int64_t v) const { plain("int", v); }
  void operator()(bool v) const { plain("bool", v); }
  void operator()(double v) const { plain("double", v); }
  void operator()(const std::string& v) const { plain("string", v); }
  template <typename T>
  void operator()(const std::vector<T>& items) const {
    json.begin_object().member("type", "list").key("value").begin_array();
    for (const T item : items) json.value(item);
    json.end_array().end_object();
  }
  void operator()(const ProgramTensor& tensor) const {
    json.begin_object().member("type", tensor.dtype_name).key("sizes").begin_array();
    for (std::int64_t extent : tensor.sizes) json.value(extent);
    json.end_array().member("dynamic", tensor.dynamism != Dynamism::Static);
    if (!tensor.contiguous) json.member("contiguous", false);
    json.end_object();
  }
  void operator()(const ProgramList& v) const {
    json.begin_object().member("type", v.kind).end_object();
  }

 private:
  template <typename T>
  void plain(std::string_view type, const T& v) const {
    json.begin_object().member("type", type).member("value", v).end_object();
  }
};

void write_values(JsonWriter& json, std::string_view key, std::span<const ProgramValue> values) {
  json.key(key).begin_array();
  for (const ProgramValue& value : values) std::visit(ValueWriter{json}, value);
  json.end_array();
}

// Only the value: {"get_max_seq_len": 2048}.
struct ConstantWriter {
  JsonWriter& json;

  template <typename T>
  void operator()(const T& v) const {
    if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      json.value(v);
    } else {
      ValueWriter{json}(v);
    }
  }
  template <typename T>
  void operator()(const std::vector<T>& items) const {
    json.begin_array();
    for (const T item : items) json.value(item);
    json.end_array();
  }
};

void write_constants(JsonWriter& json, const Program& program) {
  json.key("constants").begin_object();
  for (const Method& method : program.methods()) {
    if (!method.is_constant()) continue;
    json.key(method.name);
    if (method.outputs.size() == 1) {
      std::visit(ConstantWriter{json}, method.outputs.front());
      continue;
    }
    json.begin_array();
    for (const ProgramValue& value : method.outputs) std::visit(ConstantWriter{json}, value);
    json.end_array();
  }
  json.end_object();
}

void write_delegate(JsonWriter& json, const InspectContext& context, const Method& method,
                    const ProgramDelegate& delegate) {
  json.begin_object().member("backend", delegate.backend).member("blob_bytes", delegate.blob.size);
  json.key("options").begin_object();
  for (const CompileSpec& spec : delegate.specs) {
    std::uint64_t value = 0;  // the partitioner writes little-endian integers
    for (std::size_t i = std::min<std::size_t>(spec.value.size(), 8); i-- > 0;) {
      value = value << 8 | std::to_integer<std::uint64_t>(spec.value[i]);
    }
    json.member(spec.key, value);
  }
  json.end_object();
  if (delegate.backend == kOurBackend && !context.settings.outline) {
    if (auto written = write_compiled(json, context, method, delegate); !written) {
      json.member("error", written.error().message);
    }
  }
  json.end_object();
}

// What ExecuTorch's own kernels do.
void write_kernels(JsonWriter& json, const InspectContext& context, const Method& method) {
  json.key("host_kernels").begin_array();
  for (const KernelUse& kernel : method.kernels) {
    json.begin_object().member("name", kernel.name).member("calls", kernel.calls).end_object();
  }
  json.end_array().key("external_constants").begin_array();
  for (const std::string& key : method.external_constants) {
    json.begin_object().member("name", key).member("stored", context.is_stored(key));
    json.key("files").begin_array();
    for (const std::size_t i : context.data_files.holders(key)) {
      json.value(context.data_files.files()[i].path);
    }
    json.end_array().end_object();
  }
  json.end_array();
}

void write_method(JsonWriter& json, const InspectContext& context, const Method& method) {
  json.begin_object().member("name", method.name).member("kernel_calls", method.kernel_calls);
  json.member("delegate_calls", method.calls.size());
  write_values(json, "inputs", method.inputs);
  write_values(json, "outputs", method.outputs);
  write_kernels(json, context, method);
  json.key("delegates").begin_array();
  for (const ProgramDelegate& delegate : method.delegates) {
    write_delegate(json, context, method, delegate);
  }
  json.end_array().end_object();
}

void write_stored(JsonWriter& json, const Program& program, const DataFiles& data_files) {
  std::uint64_t named_bytes = 0;
  for (const auto& [key, part] : program.named_data()) named_bytes += part.size;
  json.key("named_data").begin_object().member("entries", program.named_data().size());
  json.member("bytes", named_bytes).end_object();
  json.key("data_files").begin_array();
  for (const DataFiles::File& file : data_files.files()) {
    json.begin_object().member("path", file.path).member("bytes", file.mapped.bytes().size());
    json.member("entries", file.content.entries().size()).end_object();
  }
  json.end_array();
}

// --- What to plan for ---

// Capabilities to plan for, and what to call them: the kind of adapter asked for, else this
// machine's adapter, else a discrete GPU with WebGPU's default limits.
std::pair<Capabilities, std::string> target(const InspectSettings& settings) {
  if (!settings.adapter) {
    const auto options = resolve_options({});
    if (const auto device = options ? acquire_device(*options) : nullptr) {
      return {(*device)->capabilities(), (*device)->adapter().name};
    }
  }
  Capabilities capabilities;
  capabilities.adapter_class = settings.adapter.value_or(AdapterClass::Discrete);
  return {capabilities, "WebGPU's default limits"};
}

// --- Which files to look into ---

// Files named by the option may be another program's: for an outline they are opened only where
// this one looks for something.
Result<DataFiles> open_data_files(const Program& program, std::span<const std::string> given,
                                  const InspectSettings& settings) {
  if (!given.empty()) return DataFiles::open(given);
  const auto looks_outside = [&](const Method& method) {
    return std::ranges::any_of(method.external_constants,
                               [&](const auto& key) { return !program.named_data(key); });
  };
  if (settings.outline && std::ranges::none_of(program.methods(), looks_outside))
    return DataFiles();
  TRY_ASSIGN(const Options options, resolve_options({}));
  return DataFiles::open(options.data_files);
}

// Kernels' constants must be the same whichever file they come from.
Result<void> check_constants(const Program& program, const DataFiles& data_files) {
  for (const Method& method : program.methods()) {
    for (const std::string& key : method.external_constants) TRY(data_files.find(key));
  }
  return {};
}

}  // namespace

Result<Dims> parse_sizes(const Json& item) {
  const Json::Array* extents = item.items();
  CHECK_OR_FAIL(extents != nullptr && extents->size() <= kMaxRank, ErrorKind::InvalidArgument,
                "'sizes' must be a list of lists of at most ", kMaxRank, " extents");
  Dims sizes;
  for (const Json& extent : *extents) {
    constexpr std::int64_t kLargest = std::int64_t{1} << 31;
    const std::int64_t* value = extent.integer();
    CHECK_OR_FAIL(value != nullptr && *value >= 0 && *value < kLargest, ErrorKind::InvalidArgument,
                  "an extent in 'sizes' must be an integer from 0 to 2^31 - 1");
    sizes.push_back(*value);
  }
  return sizes;
}

Result<InspectSettings> InspectSettings::parse(std::string_view text) {
  InspectSettings settings;
  TRY_ASSIGN(const Json json, Json::parse(text));
  if (const Json* adapter = json.find("adapter")) {
    const std::string* wanted = adapter->text();
    for (AdapterClass one :
         {AdapterClass::Discrete, AdapterClass::Integrated, AdapterClass::Software}) {
      if (wanted != nullptr && *wanted == name(one)) settings.adapter = one;
    }
    CHECK_OR_FAIL(settings.adapter.has_value(), ErrorKind::InvalidArgument,
                  "'adapter' must be discrete, integrated or software");
  }
  if (const Json* sizes = json.find("sizes")) {
    CHECK_OR_FAIL(sizes->items() != nullptr, ErrorKind::InvalidArgument, "'sizes' must be a list");
    for (const Json& item : *sizes->items()) {
      TRY_ASSIGN(const Dims dims, parse_sizes(item));
      settings.sizes.push_back(dims);
    }
  }
  if (const Json* outline = json.find("outline")) {
    CHECK_OR_FAIL(outline->flag() != nullptr, ErrorKind::InvalidArgument,
                  "'outline' must be true or false");
    settings.outline = *outline->flag();
  }
  if (const Json* kernel = json.find("kernel")) {
    const std::int64_t* number = kernel->integer();
    CHECK_OR_FAIL(number != nullptr && *number >= 0, ErrorKind::InvalidArgument,
                  "'kernel' must be the number of a dispatch, from 0");
    settings.kernel = static_cast<std::size_t>(*number);
  }
  return settings;
}

Result<std::string> inspect_json(const std::string& pte, std::span<const std::string> data_files,
                                 const InspectSettings& settings) {
  TRY_ASSIGN(const MappedFile file, MappedFile::open(pte));
  auto program = Program::read(file.bytes());
  if (!program) return std::unexpected(std::move(program).error().within(pte));
  TRY_ASSIGN(const DataFiles external, open_data_files(*program, data_files, settings));
  TRY(check_constants(*program, external));

  JsonWriter json;
  json.begin_object().member("path", pte).member("bytes", file.bytes().size());
  Capabilities capabilities;
  if (!settings.outline) {
    std::string adapter;
    std::tie(capabilities, adapter) = target(settings);
    json.key("planned_for").begin_object().member("adapter", adapter);
    json.member("type", name(capabilities.adapter_class)).key("capabilities").begin_object();
    write_capabilities(json, capabilities);
    json.end_object().end_object();
  }
  write_constants(json, *program);
  write_stored(json, *program, external);
  const InspectContext context{*program, external, settings, capabilities};
  json.key("methods").begin_array();
  for (const Method& method : program->methods()) {
    if (!method.is_constant()) write_method(json, context, method);
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace etwebgpu
