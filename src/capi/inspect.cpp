#include "capi/inspect.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/json.h"
#include "capi/data_files.h"
#include "capi/delegate.h"
#include "capi/json_value.h"
#include "capi/mapped_file.h"
#include "capi/plan_json.h"
#include "format/delegate.h"
#include "format/program.h"
#include "plan/model.h"

namespace etwebgpu {
namespace {

constexpr std::string_view kOurBackend = "VulkanBackend";

// Everything about the files that one delegate's part of the answer needs.
struct Context {
  const Program& program;
  const DataFiles& data_files;
  const InspectSettings& settings;
  const Capabilities& capabilities;
};

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
  void operator()(const OpaqueValue& v) const {
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

// --- The delegate's graph ---

std::string describe(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  if (const auto* tensor = std::get_if<TensorInfo>(&value)) {
    return cat(tensor->constant >= 0 ? "weight " : "", name(tensor->dtype),
               to_string(tensor->bound));
  }
  if (std::holds_alternative<std::monostate>(value)) return "none";
  if (std::holds_alternative<SymInt>(value)) return "symint";
  if (const auto* text = std::get_if<std::string>(&value)) return cat("'", *text, "'");
  if (const auto* flag = std::get_if<bool>(&value)) return cat(*flag);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return cat(*integer);
  if (const auto* number = std::get_if<double>(&value)) return cat(*number);
  std::string out;
  const auto add_all = [&](const auto& items, std::string_view prefix) {
    for (const auto item : items) out += cat(out.empty() ? "" : ", ", prefix, item);
  };
  if (const auto* list = std::get_if<IntList>(&value)) add_all(list->items, "");
  if (const auto* list = std::get_if<DoubleList>(&value)) add_all(list->items, "");
  if (const auto* list = std::get_if<ValueList>(&value)) add_all(list->items, "%");
  if (const auto* list = std::get_if<BoolList>(&value)) {
    for (const bool item : list->items) out += cat(out.empty() ? "" : ", ", item);
  }
  return cat("[", out, "]");
}

void write_ids(JsonWriter& json, std::string_view key, std::span<const ValueId> ids) {
  json.key(key).begin_array();
  for (ValueId id : ids) json.value(id);
  json.end_array();
}

void write_graph(JsonWriter& json, const Graph& graph) {
  std::map<std::string_view, std::size_t> histogram;
  for (const Call& call : graph.calls) ++histogram[call.name];
  std::vector<std::pair<std::string_view, std::size_t>> operators(histogram.begin(),
                                                                  histogram.end());
  std::ranges::stable_sort(operators, std::greater(), &decltype(operators)::value_type::second);
  json.key("operators").begin_array();
  for (const auto& [name, count] : operators) {
    json.begin_object().member("name", name).member("calls", count).end_object();
  }
  json.end_array();

  json.key("graph").begin_object();
  write_ids(json, "inputs", graph.inputs);
  write_ids(json, "outputs", graph.outputs);
  json.key("calls").begin_array();
  for (const Call& call : graph.calls) {
    json.begin_object().member("name", call.name);
    write_ids(json, "args", call.args);
    json.end_object();
  }
  json.end_array().key("values").begin_array();
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    json.value(describe(graph, static_cast<ValueId>(i)));
  }
  json.end_array().end_object();
}

bool is_stored(const Context& context, const std::string& key) {
  return context.program.named_data(key) || !context.data_files.holders(key).empty();
}

void write_weights(JsonWriter& json, const Context& context, const Graph& graph) {
  // Equal weights share bytes: they count once.
  std::map<std::pair<std::string_view, std::uint64_t>, std::uint64_t> distinct;
  for (const Constant& c : graph.constants)
    distinct[{c.key, c.key.empty() ? c.offset : 0}] = c.length;
  std::uint64_t total = 0;
  for (const auto& [place, bytes] : distinct) total += bytes;
  json.member("weight_bytes", total).key("weights").begin_array();
  for (const Value& value : graph.values) {
    const auto* tensor = std::get_if<TensorInfo>(&value);
    if (tensor == nullptr || tensor->constant < 0) continue;
    const Constant& constant = graph.constants[static_cast<std::size_t>(tensor->constant)];
    json.begin_object().member("key", constant.key).member("type", name(tensor->dtype));
    json.member("sizes", tensor->bound).member("bytes", constant.length);
    const bool stored = constant.key.empty() || is_stored(context, constant.key);
    json.member("stored", stored).end_object();
  }
  json.end_array();
}

// --- Memory and plans ---

// Writes one row and returns its bytes.
std::uint64_t write_packed(JsonWriter& json, const PackedConstant& packed) {
  const std::uint64_t bytes = packed_size(packed).value_or(0);
  json.begin_object().member("bytes", bytes).member("packing", name(packed.packing));
  json.key("tensors").begin_array();
  for (const PackedPart& part : packed.parts)
    json.value(cat(name(part.dtype), to_string(part.dims)));
  json.end_array().end_object();
  return bytes;
}

// What activations take where the exporter's own plan shares memory between them, at the recorded
// bounds: a word for each element, as on the device.
std::uint64_t exporter_slot_bytes(const Graph& graph) {
  std::map<std::int32_t, std::uint64_t> objects;
  std::uint64_t total = 0;
  for (const Value& value : graph.values) {
    const auto* tensor = std::get_if<TensorInfo>(&value);
    if (tensor == nullptr || tensor->constant >= 0) continue;
    const std::uint64_t bytes = 4 * static_cast<std::uint64_t>(tensor->bound.numel());
    if (tensor->mem_object < 0) {
      total += bytes;
    } else {
      objects[tensor->mem_object] = std::max(objects[tensor->mem_object], bytes);
    }
  }
  for (const auto& [object, bytes] : objects) total += bytes;
  return total;
}

void write_memory(JsonWriter& json, const Model& model) {
  std::uint64_t constant_bytes = 0;
  std::uint64_t state_bytes = 0;
  json.key("memory").begin_object().key("constants").begin_array();
  for (const PackedConstant& constant : model.constants())
    constant_bytes += write_packed(json, constant);
  json.end_array().key("states").begin_array();
  for (const StateSpec& state : model.states()) {
    json.begin_object().member("bytes", state.bytes);
    json.member("tensor", describe(model.graph(), state.value)).end_object();
    state_bytes += state.bytes;
  }
  json.end_array().member("constant_bytes", constant_bytes).member("state_bytes", state_bytes);
  json.member("exporter_slot_bytes", exporter_slot_bytes(model.graph()));
  json.end_object();
}

std::vector<Dims> recorded_sizes(const Graph& graph) {
  std::vector<Dims> sizes;
  for (ValueId input : graph.inputs) {
    const TensorInfo* tensor = graph.tensor(input);
    sizes.push_back(tensor != nullptr ? tensor->bound : Dims());
  }
  return sizes;
}

// The sizes of a decode step. A program records upper bounds only, so this is a guess: where what
// the delegate gets has live sizes, extents that equal the method's largest number of tokens are 1.
std::vector<Dims> one_token_sizes(const Method& method, const ProgramDelegate& delegate,
                                  const Graph& graph) {
  std::vector<std::int64_t> lengths;
  for (const ProgramValue& input : method.inputs) {
    const auto* tensor = std::get_if<ProgramTensor>(&input);
    if (tensor == nullptr || tensor->dynamism == Dynamism::Static) continue;
    if (tensor->dtype == DType::Int64 || tensor->dtype == DType::Int32) {
      lengths.insert(lengths.end(), tensor->sizes.begin(), tensor->sizes.end());
    }
  }
  std::vector<Dims> sizes = recorded_sizes(graph);
  for (std::size_t i = 0; i < std::min(sizes.size(), delegate.arguments.size()); ++i) {
    if (delegate.arguments[i] == Dynamism::Static) continue;
    for (std::size_t d = 0; d < sizes[i].rank(); ++d) {
      if (std::ranges::find(lengths, sizes[i][d]) != lengths.end()) sizes[i][d] = 1;
    }
  }
  return sizes;
}

// Plans for these input sizes, with zeros where the model reads elements.
Result<const Plan*> plan_for(Model& model, std::span<const Dims> sizes, std::int64_t scalar) {
  CHECK_OR_FAIL(sizes.size() == model.graph().inputs.size(), ErrorKind::InvalidArgument,
                "sizes for ", sizes.size(), " inputs were given, but there are ",
                model.graph().inputs.size());
  std::vector<HostInput> inputs(sizes.size());
  std::vector<std::vector<std::int32_t>> zeros(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    inputs[i].sizes = sizes[i];
    inputs[i].scalar = scalar;
    if (!model.wants_host_data(i)) continue;
    constexpr std::int64_t kMostElements = 1 << 20;
    CHECK_OR_FAIL(sizes[i].numel() <= kMostElements, ErrorKind::ResourceLimit, "input ", i,
                  " of sizes ", to_string(sizes[i]), " is read on the host");
    zeros[i].assign(static_cast<std::size_t>(sizes[i].numel()), 0);
    inputs[i].elements = zeros[i];
  }
  return model.prepare(inputs);
}

void write_plan_for(JsonWriter& json, const Model& model, std::string_view purpose,
                    const Result<const Plan*>& plan) {
  json.begin_object().member("for", purpose);
  if (plan) {
    write_plan(json, model, **plan);
  } else {
    json.member("error", plan.error().message);
  }
  json.end_object();
}

void write_plans(JsonWriter& json, const Context& context, std::span<const Dims> one_token,
                 Model& model) {
  json.key("plans").begin_array();
  write_plan_for(json, model, "the largest inputs", &model.bound_plan());
  if (!std::ranges::equal(one_token, recorded_sizes(model.graph()))) {
    // Sizes that contradict each other are the guess's fault, not the program's.
    const auto plan = plan_for(model, one_token, 1);
    if (plan) write_plan_for(json, model, "one token", plan);
  }
  if (const auto& sizes = context.settings.sizes; !sizes.empty()) {
    write_plan_for(json, model, "the given sizes", plan_for(model, sizes, 0));
  }
  json.end_array();
}

Result<void> write_compiled(JsonWriter& json, const Context& context, const Method& method,
                            const ProgramDelegate& delegate) {
  TRY_ASSIGN(Graph graph, decode_delegate(delegate.blob));
  const std::vector<Dims> one_token = one_token_sizes(method, delegate, graph);
  json.member("version", graph.version);
  write_graph(json, graph);
  write_weights(json, context, graph);
  TRY_ASSIGN(const auto options, resolve_options({}));
  TRY_ASSIGN(const auto model,
             Model::create(std::move(graph), context.capabilities, options.model));
  write_memory(json, *model);
  write_plans(json, context, one_token, *model);
  return {};
}

void write_delegate(JsonWriter& json, const Context& context, const Method& method,
                    const ProgramDelegate& delegate) {
  json.begin_object()
      .member("backend", delegate.backend)
      .member("blob_bytes", delegate.blob.size());
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
void write_kernels(JsonWriter& json, const Context& context, const Method& method) {
  json.key("host_kernels").begin_array();
  for (const KernelUse& kernel : method.kernels) {
    json.begin_object().member("name", kernel.name).member("calls", kernel.calls).end_object();
  }
  json.end_array().key("external_constants").begin_array();
  for (const std::string& key : method.external_constants) {
    json.begin_object().member("name", key).member("stored", is_stored(context, key));
    json.key("files").begin_array();
    for (const std::size_t i : context.data_files.holders(key)) {
      json.value(context.data_files.files()[i].path);
    }
    json.end_array().end_object();
  }
  json.end_array();
}

void write_method(JsonWriter& json, const Context& context, const Method& method) {
  json.begin_object().member("name", method.name).member("kernel_calls", method.kernel_calls);
  json.member("delegate_calls", method.delegate_calls);
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
  for (const auto& [key, bytes] : program.named_data()) named_bytes += bytes.size();
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

}  // namespace

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
  return settings;
}

Result<std::string> inspect_json(const std::string& pte, std::span<const std::string> data_files,
                                 const InspectSettings& settings) {
  TRY_ASSIGN(const MappedFile file, MappedFile::open(pte));
  auto program = Program::read(file.bytes());
  if (!program) return std::unexpected(std::move(program).error().within(pte));
  TRY_ASSIGN(const DataFiles external, DataFiles::open(data_files));

  JsonWriter json;
  json.begin_object().member("path", pte).member("bytes", file.bytes().size());
  Capabilities capabilities;
  if (!settings.outline) {
    std::string adapter;
    std::tie(capabilities, adapter) = target(settings);
    json.key("planned_for").begin_object().member("adapter", adapter);
    json.member("type", name(capabilities.adapter_class)).end_object();
  }
  write_constants(json, *program);
  write_stored(json, *program, external);
  const Context context{*program, external, settings, capabilities};
  json.key("methods").begin_array();
  for (const Method& method : program->methods()) {
    if (!method.is_constant()) write_method(json, context, method);
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace etwebgpu
