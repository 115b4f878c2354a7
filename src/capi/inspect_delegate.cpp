#include "capi/inspect_delegate.h"

#include <algorithm>
#include <map>
#include <utility>

#include "capi/options.h"
#include "capi/plan_layers.h"
#include "format/delegate.h"
#include "plan/missing_operators.h"
#include "plan/plan_json.h"
#include "webgpu/template_folder.h"
#include "webgpu/upload.h"

namespace etwebgpu {
namespace {

// --- The graph ---

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
  const std::vector<MissingOperator> missing = missing_operators(graph);
  json.key("operators").begin_array();
  for (const auto& [name, count] : operators) {
    const bool supported =
        std::ranges::find(missing, name, &MissingOperator::name) == missing.end();
    json.begin_object().member("name", name).member("calls", count);
    json.member("supported", supported).end_object();
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

void write_weights(JsonWriter& json, const InspectContext& context, const Graph& graph) {
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
    const bool stored = constant.key.empty() || context.is_stored(constant.key);
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
// bounds, stored as on the device.
std::uint64_t exporter_slot_bytes(const Model& model) {
  std::map<std::int32_t, std::uint64_t> objects;
  std::uint64_t total = 0;
  for (std::size_t v = 0; v < model.graph().values.size(); ++v) {
    const TensorInfo* tensor = model.graph().tensor(static_cast<ValueId>(v));
    if (tensor == nullptr || tensor->constant >= 0) continue;
    const std::uint64_t bytes = storage_bytes(model.storages()[v], tensor->bound.numel());
    if (tensor->mem_object < 0) {
      total += bytes;
    } else {
      objects[tensor->mem_object] = std::max(objects[tensor->mem_object], bytes);
    }
  }
  for (const auto& [object, bytes] : objects) total += bytes;
  return total;
}

// By value, null for what is no tensor. Passes may have added values to the program's.
void write_storages(JsonWriter& json, const Model& model) {
  json.key("storages").begin_array();
  for (std::size_t v = 0; v < model.graph().values.size(); ++v) {
    const bool is_tensor = model.graph().tensor(static_cast<ValueId>(v)) != nullptr;
    is_tensor ? json.value(name(model.storages()[v])) : json.null();
  }
  json.end_array();
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
    json.member("packing", name(state.initial.packing));
    json.member("tensor", describe(model.graph(), state.value)).end_object();
    state_bytes += state.bytes;
  }
  json.end_array().member("constant_bytes", constant_bytes).member("state_bytes", state_bytes);
  json.member("exporter_slot_bytes", exporter_slot_bytes(model));
  json.member("staging_bytes", model.constants().empty() ? 0 : kStagingBytes);
  write_storages(json, model);
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

// Plans for these input sizes, with zeros where the model reads elements and `scalar` for SymInts.
Result<const Plan*> plan_for(Model& model, std::span<const Dims> sizes, std::int64_t scalar) {
  CHECK_OR_FAIL(sizes.size() == model.graph().inputs.size(), ErrorKind::InvalidArgument,
                "sizes for ", sizes.size(), " inputs were given, but there are ",
                model.graph().inputs.size());
  std::vector<HostInput> inputs(sizes.size());
  std::vector<std::vector<std::int64_t>> zeros(sizes.size());
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

// The text of the dispatch's kernel as the device compiles it.
void write_wgsl(JsonWriter& json, const Model& model, const PlannedDispatch& dispatch,
                WgslDialect dialect) {
  const auto text = used_kernel_source(model.kernels()[dispatch.kernel], dialect);
  json.member("wgsl", text ? *text : text.error().message);
}

void write_plan_for(JsonWriter& json, const InspectContext& context, const Model& model,
                    std::string_view purpose, const Result<const Plan*>& plan) {
  json.begin_object().member("for", purpose);
  if (plan) {
    write_plan(json, model, **plan);
    write_layers(json, model, **plan);
    const auto shown = context.settings.kernel;
    if (shown && *shown < (**plan).dispatches.size())
      write_wgsl(json, model, (**plan).dispatches[*shown], context.capabilities.dialect);
  } else {
    json.member("error", plan.error().message);
  }
  json.end_object();
}

void write_plans(JsonWriter& json, const InspectContext& context, std::span<const Dims> one_token,
                 Model& model) {
  json.key("plans").begin_array();
  write_plan_for(json, context, model, "the largest inputs", &model.bound_plan());
  if (!std::ranges::equal(one_token, recorded_sizes(model.graph()))) {
    // Sizes that contradict each other are the guess's fault, not the program's.
    const auto plan = plan_for(model, one_token, 1);
    if (plan) write_plan_for(json, context, model, "one token", plan);
  }
  if (const auto& sizes = context.settings.sizes; !sizes.empty()) {
    write_plan_for(json, context, model, "the given sizes", plan_for(model, sizes, 0));
  }
  json.end_array();
}

}  // namespace

Result<void> write_compiled(JsonWriter& json, const InspectContext& context, const Method& method,
                            const ProgramDelegate& delegate) {
  TRY_ASSIGN(Graph graph, decode_delegate(context.program.bytes(delegate.blob)));
  const std::vector<Dims> one_token = one_token_sizes(method, delegate, graph);
  json.member("version", graph.version);
  write_graph(json, graph);
  write_weights(json, context, graph);
  TRY_ASSIGN(const auto options, resolve_options({}));
  // Weights are not read: zero points of constants are taken for zeros, as most are, and
  // factors for 1.
  const Surroundings surroundings{
      .is_zero = [](std::int32_t) -> Result<bool> { return true; },
      .number = [](const TensorInfo&) -> Result<std::optional<double>> { return 1.0; }};
  TRY_ASSIGN(const auto model,
             Model::create(std::move(graph), context.capabilities, options.model, surroundings));
  write_memory(json, *model);
  write_plans(json, context, one_token, *model);
  return {};
}

}  // namespace etwebgpu
