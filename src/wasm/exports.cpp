#include "wasm/exports.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "base/json.h"
#include "base/json_value.h"
#include "format/delegate.h"
#include "format/file_json.h"
#include "format/flat_tensor.h"
#include "format/program.h"
#include "format/state_names.h"
#include "kernels/kernel_source.h"
#include "kernels/token_choice.h"
#include "ops/quantized/affine.h"
#include "passes/passes.h"
#include "plan/call_match.h"
#include "plan/missing_operators.h"
#include "plan/model.h"
#include "plan/plan_json.h"
#include "plan/shared_states.h"
#include "plan/window_sources.h"
#include "wasm/loading.h"
#include "wasm/results.h"

using namespace etwebgpu;
using namespace etwebgpu::wasm;

namespace {

using Delegate = EtwgDelegate;

const Model* current_model = nullptr;
const Plan* current_plan = nullptr;  // of that model
std::uint32_t plans_numbered = 0;

FileHead head_of(const std::uint8_t* data, std::uint32_t size, double file_size) {
  return {bytes_of(data, size), static_cast<std::uint64_t>(file_size)};
}

// --- Delegates ---

Result<std::unique_ptr<Delegate>> read_delegate(const FileHead& blob) {
  auto out = std::make_unique<Delegate>();
  TRY_ASSIGN(out->graph, decode_delegate(blob));
  TRY_ASSIGN(out->constants, delegate_constants(blob));
  return out;
}

// Small integers, which the host may compute with, and single factors.
bool is_read(const Graph& graph, std::size_t constant) {
  constexpr std::int64_t kMostElements = 4096;
  return std::ranges::any_of(graph.values, [&](const Value& value) {
    const auto* tensor = std::get_if<TensorInfo>(&value);
    if (tensor == nullptr || tensor->constant != static_cast<std::int32_t>(constant)) return false;
    const std::int64_t count = tensor->bound.numel();
    return count == 1 || (!is_floating(tensor->dtype) && count <= kMostElements);
  });
}

// By constant: whether plans depend on it being all zeros, as zero points are as a rule.
std::vector<bool> zero_points(const Graph& graph) {
  const Aliasing aliasing = find_aliases(graph);
  std::vector<bool> out(graph.constants.size());
  for (const Call& call : graph.calls) {
    const AffineForm* form = find_affine_form(call.name);
    if (form == nullptr || form->quantizes || form->zero_point >= call.args.size()) continue;
    const auto view = static_cast<std::size_t>(call.args[form->zero_point]);
    const TensorInfo* tensor = graph.tensor(aliasing.storage[view]);
    if (tensor && tensor->constant >= 0) out[static_cast<std::size_t>(tensor->constant)] = true;
  }
  return out;
}

Result<std::string> shared_states_json(std::span<const Delegate* const> delegates,
                                       std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  CHECK_OR_FAIL(json.items() && json.items()->size() == delegates.size(),
                ErrorKind::InvalidArgument, "there must be one entry for each of the ",
                delegates.size(), " delegates");
  std::vector<DelegateUses> uses;
  for (std::size_t d = 0; d < delegates.size(); ++d) {
    const Json& entry = (*json.items())[d];
    const Json *method = entry.find("method"), *states = entry.find("states");
    CHECK_OR_FAIL(method && method->text() && states && states->text(), ErrorKind::InvalidArgument,
                  "'method' and 'states' must be texts");
    TRY_ASSIGN(const StateNames names, parse_state_names(*states->text()));
    uses.push_back({*method->text(), state_uses(delegates[d]->graph, names)});
  }
  TRY_ASSIGN(const SharedStates shared, share_states(uses));
  JsonWriter out;
  out.begin_array();
  for (const auto& buffers : shared) {
    out.begin_array();
    for (const auto& [value, buffer] : buffers)
      out.begin_array().value(value).value(buffer).end_array();
    out.end_array();
  }
  out.end_array();
  return out.take();
}

// --- Arguments ---

Result<std::unique_ptr<Model>> load(Graph graph, std::string_view device,
                                    std::span<const EtwgConstant> constants) {
  TRY_ASSIGN(const Settings settings, settings_of(device));
  const auto bytes = [&](std::uint32_t index) -> std::span<const std::byte> {
    const auto found = std::ranges::find(constants, index, &EtwgConstant::index);
    return found == constants.end() ? std::span<const std::byte>()
                                    : bytes_of(found->data, found->size);
  };
  return make_model(std::move(graph), settings, bytes);
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

Result<std::uint32_t> prepare(Model& model, std::span<const EtwgInput> inputs, bool wide) {
  std::vector<HostInput> host;
  std::vector<std::vector<std::int64_t>> elements(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    TRY_ASSIGN(HostInput converted, host_input(inputs[i], elements[i]));
    host.push_back(std::move(converted));
  }
  TRY_ASSIGN(current_plan, model.prepare(host, wide));
  current_model = &model;
  // Plans come and go in the model's cache; a number of its own tells a new one from an old one.
  if (!current_plan->replay)
    current_plan->replay = std::make_shared<std::uint32_t>(++plans_numbered);
  return *static_cast<const std::uint32_t*>(current_plan->replay.get());
}

// --- Constants ---

const PackedConstant* packed(const Model& model, bool state, std::uint32_t index) {
  const std::size_t count = state ? model.states().size() : model.constants().size();
  if (index < count) return state ? &model.states()[index].initial : &model.constants()[index];
  result =
      cat("the model has ", count, state ? " states" : " constants", ", not one numbered ", index);
  return nullptr;
}

Result<std::string> windows_json(const Graph& graph, const PackedConstant& constant,
                                 std::uint32_t most) {
  JsonWriter json;
  json.begin_array();
  for (const PackedWindow& window : packed_windows(constant, most)) {
    TRY_ASSIGN(const auto ranges, window_ranges(graph, constant, window));
    json.begin_array().value(window.offset).value(window.size).value(window.part);
    json.value(window.pieces).value(window.stride).begin_array();
    for (const SourceRange& range : ranges)
      json.begin_array().value(range.offset).value(range.size).end_array();
    json.end_array().end_array();
  }
  json.end_array();
  return json.take();
}

Result<std::string> pack(const Graph& graph, const PackedConstant& constant, std::uint32_t most,
                         std::uint32_t number, std::span<const std::byte> sources,
                         std::span<std::byte> out) {
  const std::vector<PackedWindow> windows = packed_windows(constant, most);
  CHECK_OR_FAIL(number < windows.size(), ErrorKind::InvalidArgument, "the constant has ",
                windows.size(), " windows, not one numbered ", number);
  TRY(pack_window(graph, constant, windows[number], sources, out));
  return std::string();
}

// --- Calls ---

Result<PassedValue> passed_value(const Json& json) {
  PassedValue out;
  const Json* id = json.find("id");
  const std::int64_t* place = id == nullptr ? nullptr : id->integer();
  CHECK_OR_FAIL(place != nullptr, ErrorKind::InvalidArgument, "a value has no 'id'");
  out.place = *place;
  const Json* dtype = json.find("dtype");
  if (dtype == nullptr) return out;
  out.is_tensor = true;
  const std::optional<DType> known =
      dtype->text() == nullptr ? std::nullopt : dtype_named(*dtype->text());
  CHECK_OR_FAIL(known, ErrorKind::NotSupported, "value ", out.place,
                " has a type that this runtime does not know");
  out.dtype = *known;
  const Json* sizes = json.find("sizes");
  CHECK_OR_FAIL(sizes && sizes->items() && sizes->items()->size() <= kMaxRank,
                ErrorKind::InvalidArgument, "'sizes' must be a list of at most ", kMaxRank);
  for (const Json& size : *sizes->items()) {
    CHECK_OR_FAIL(size.integer(), ErrorKind::InvalidArgument, "a size must be a whole number");
    out.sizes.push_back(*size.integer());
  }
  return out;
}

Result<std::string> match_json(const Model& model, std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  const Json* values = json.find("values");
  const Json* aliased = json.find("aliased");
  CHECK_OR_FAIL(values && values->items() && aliased && aliased->flag(), ErrorKind::InvalidArgument,
                "'values' must be a list and 'aliased' a flag");
  std::vector<PassedValue> passed;
  for (const Json& value : *values->items()) {
    TRY_ASSIGN(passed.emplace_back(), passed_value(value));
  }
  TRY_ASSIGN(const CallMatch match, match_call(model.graph(), passed, *aliased->flag()));
  JsonWriter out;
  out.begin_object();
  write_match(out, match);
  out.end_object();
  return out.take();
}

}  // namespace

extern "C" {

EXPORT(etwg_alloc) void* etwg_alloc(std::uint32_t size) { return std::malloc(size); }
EXPORT(etwg_free) void etwg_free(void* memory) { std::free(memory); }
EXPORT(etwg_result) const char* etwg_result() { return result.data(); }
EXPORT(etwg_result_size) std::uint32_t etwg_result_size() {
  return static_cast<std::uint32_t>(result.size());
}

EXPORT(etwg_head_size)
double etwg_head_size(std::uint32_t kind, const std::uint8_t* data, std::uint32_t size,
                      double file_size) {
  constexpr Result<std::uint64_t> (*kReaders[])(const FileHead&) = {
      Program::head_size, FlatTensorFile::head_size, delegate_head_size};
  auto needed = kReaders[std::min<std::size_t>(kind, std::size(kReaders) - 1)](
      head_of(data, size, file_size));
  if (needed) return static_cast<double>(*needed);
  result = std::move(needed.error().message);
  return 0;
}
EXPORT(etwg_program)
bool etwg_program(const std::uint8_t* data, std::uint32_t size, double file_size) {
  return keep(program_json(head_of(data, size, file_size)));
}
EXPORT(etwg_data_file)
bool etwg_data_file(const std::uint8_t* data, std::uint32_t size, double file_size) {
  return keep(data_file_json(head_of(data, size, file_size)));
}

EXPORT(etwg_delegate)
Delegate* etwg_delegate(const std::uint8_t* data, std::uint32_t size, double blob_size) {
  return keep_handle(read_delegate(head_of(data, size, blob_size)));
}
EXPORT(etwg_discard) void etwg_discard(Delegate* delegate) { delete delegate; }
EXPORT(etwg_delegate_json) void etwg_delegate_json(const Delegate* delegate) {
  const Graph& graph = delegate->graph;
  const std::vector<bool> zeros = zero_points(graph);
  JsonWriter json;
  json.begin_object()
      .member("constants_at", delegate->constants.offset)
      .key("constants")
      .begin_array();
  for (std::size_t i = 0; i < graph.constants.size(); ++i) {
    json.begin_object().member("key", graph.constants[i].key);
    json.member("offset", graph.constants[i].offset).member("length", graph.constants[i].length);
    json.member("read", is_read(graph, i)).member("zeros", bool{zeros[i]}).end_object();
  }
  json.end_array();
  write_array(json, "missing_operators", missing_operators(graph),
              [&](const MissingOperator& one) { json.value(one.name); });
  result = json.end_object().take();
}

EXPORT(etwg_shared_states)
bool etwg_shared_states(const Delegate* const* delegates, std::uint32_t count, const char* methods,
                        std::uint32_t size) {
  return keep(shared_states_json(std::span(delegates, count), {methods, size}));
}

EXPORT(etwg_load)
Model* etwg_load(Delegate* used_up, const char* device, std::uint32_t device_size,
                 const EtwgConstant* constants, std::uint32_t constant_count) {
  const std::unique_ptr<Delegate> delegate(used_up);
  auto model =
      load(std::move(delegate->graph), {device, device_size}, std::span(constants, constant_count));
  return keep_handle(std::move(model));
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

EXPORT(etwg_bound_plan_json) void etwg_bound_plan_json(const Model* model) {
  JsonWriter json;
  json.begin_object();
  write_plan(json, *model, model->bound_plan());
  result = json.end_object().take();
}

EXPORT(etwg_match)
bool etwg_match(const Model* model, const char* values, std::uint32_t size) {
  return keep(match_json(*model, {values, size}));
}

EXPORT(etwg_prepare)
std::uint32_t etwg_prepare(Model* model, const EtwgInput* inputs, std::uint32_t count,
                           bool wide_integers) {
  current_plan = nullptr;
  auto number = prepare(*model, std::span(inputs, count), wide_integers);
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

EXPORT(etwg_token_kernel)
bool etwg_token_kernel(bool sampled, std::uint32_t first, std::uint32_t count,
                       std::uint32_t invocations, std::uint32_t dialect) {
  const auto kernel = sampled ? sample_token : greedy_token;
  return keep(kernel_source(kernel(first, count, invocations), static_cast<WgslDialect>(dialect)));
}

EXPORT(etwg_scalars) const std::int32_t* etwg_scalars(const Model* model) {
  return model->scalar_values().data();
}
EXPORT(etwg_dirty) const std::uint8_t* etwg_dirty(const Model* model) {
  return model->scalar_dirty().data();
}
EXPORT(etwg_clear_dirty) void etwg_clear_dirty(Model* model) { model->clear_dirty(); }

EXPORT(etwg_windows)
bool etwg_windows(const Model* model, bool state, std::uint32_t index, std::uint32_t most) {
  const PackedConstant* constant = packed(*model, state, index);
  return constant != nullptr && keep(windows_json(model->graph(), *constant, most));
}
EXPORT(etwg_pack)
bool etwg_pack(const Model* model, bool state, std::uint32_t index, std::uint32_t most,
               std::uint32_t window, const std::uint8_t* sources, std::uint32_t sources_size,
               std::uint8_t* out, std::uint32_t size) {
  const PackedConstant* constant = packed(*model, state, index);
  return constant != nullptr &&
         keep(pack(model->graph(), *constant, most, window, bytes_of(sources, sources_size),
                   std::as_writable_bytes(std::span(out, size))));
}

}  // extern "C"
