#include "plan/plan_json.h"

#include <string_view>

#include "kernels/kernel_source.h"
#include "plan/window_sources.h"

namespace etwebgpu {
namespace {

constexpr int kVersion = 1;

constexpr std::string_view name(Space space) {
  constexpr std::string_view names[] = {"slot", "constant", "state", "uniforms", "scalars"};
  return names[static_cast<std::size_t>(space)];
}

// --- Models ---

// Where a constant of the file is; the object stays open.
void write_place(JsonWriter& json, const Constant& constant, std::uint64_t bytes) {
  json.begin_object().member("key", constant.key);
  json.member("offset", constant.offset).member("length", constant.length);
  json.member("bytes", bytes);
}

void write_part(JsonWriter& json, const Graph& graph, const PackedPart& part) {
  const auto constant_at = [&](std::int32_t index) -> const Constant& {
    return graph.constants[static_cast<std::size_t>(index)];
  };
  const Constant& constant = constant_at(part.constant);
  write_place(json, constant, source_size(part));
  json.member("type", name(part.dtype)).member("sizes", part.dims);
  if (constant.made || constant.fill)
    write_array(json, "made_of", part_sources(graph, part), [&](const PartSource& source) {
      write_place(json, constant_at(source.constant), source.bytes);
      json.end_object();
    });
  json.end_object();
}

// The object stays open.
void write_packed(JsonWriter& json, const Graph& graph, const PackedConstant& packed,
                  std::uint64_t bytes) {
  json.begin_object().member("packing", name(packed.packing)).member("bytes", bytes);
  write_array(json, "parts", packed.parts,
              [&](const PackedPart& part) { write_part(json, graph, part); });
}

// An input or output of the graph; the object stays open.
void write_edge(JsonWriter& json, const Graph& graph, ValueId id) {
  const TensorInfo* tensor = graph.tensor(id);
  json.begin_object().member("value", id);
  if (tensor == nullptr) return;
  json.member("type", name(tensor->dtype)).member("host_type", name(tensor->host_dtype));
  json.member("sizes", tensor->bound);
}

// --- Plans ---

void write_tensors(JsonWriter& json, std::string_view key, std::span<const PlannedTensor> tensors) {
  write_array(json, key, tensors, [&](const PlannedTensor& tensor) {
    json.begin_object().member("position", tensor.position).member("type", name(tensor.dtype));
    json.member("storage", name(tensor.storage)).member("sizes", tensor.sizes);
    json.member("space", name(tensor.space)).member("index", tensor.index);
    json.member("on_device", tensor.on_device).end_object();
  });
}

void write_call(JsonWriter& json, const Call& call) {
  json.member("call", call.name).member("node", call.node_id);
  if (call.covers.empty()) return;
  write_array(json, "covers", call.covers, [&](const CallOrigin& o) { json.value(o.name); });
  write_array(json, "covered_nodes", call.covers,
              [&](const CallOrigin& o) { json.value(o.node_id); });
}

void write_grid(JsonWriter& json, const Grid& grid) {
  json.key("grid").begin_array().value(grid.x).value(grid.y).value(grid.z).end_array();
  if (grid.live < 0) return;
  json.key("live").begin_object().member("scalar", grid.live);
  json.member("add", grid.add).member("divide", grid.divide).end_object();
}

void write_bindings(JsonWriter& json, const Plan& plan, const PlannedDispatch& dispatch) {
  const auto bindings =
      std::span(plan.bindings).subspan(dispatch.first_binding, dispatch.binding_count);
  write_array(json, "bindings", bindings, [&](const PlannedBinding& binding) {
    json.begin_object().member("space", name(binding.space)).member("index", binding.index);
    json.member("write", binding.access == Access::ReadWrite);
    json.member("offset", binding.offset).member("size", binding.size).end_object();
  });
}

}  // namespace

void write_model(JsonWriter& json, const Model& model) {
  const Graph& graph = model.graph();
  json.member("version", kVersion).key("inputs").begin_array();
  for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
    write_edge(json, graph, graph.inputs[i]);
    json.member("wants_host_data", model.wants_host_data(i)).end_object();
  }
  json.end_array();
  write_array(json, "outputs", graph.outputs, [&](ValueId id) {
    write_edge(json, graph, id);
    json.end_object();
  });
  write_array(json, "constants", model.constants(), [&](const PackedConstant& constant) {
    write_packed(json, graph, constant, packed_size(constant).value_or(0));
    json.end_object();
  });
  write_array(json, "states", model.states(), [&](const StateSpec& state) {
    write_packed(json, graph, state.initial, state.bytes);
    json.member("value", state.value).end_object();
  });
  write_array(json, "scalar_values", model.scalars(), [&](ValueId id) { json.value(id); });
  json.member("scalars", model.scalars().size()).member("calls", graph.calls.size());
}

void write_plan(JsonWriter& json, const Model& model, const Plan& plan,
                const std::function<void(JsonWriter&, std::size_t)>& more) {
  json.member("version", kVersion);
  write_tensors(json, "inputs", plan.inputs);
  write_tensors(json, "outputs", plan.outputs);
  json.member("slot_bytes", plan.slot_bytes());
  write_array(json, "slots", plan.slots, [&](std::uint64_t bytes) { json.value(bytes); });
  json.member("uniform_bytes", plan.uniforms.size());
  json.member("dispatch_count", plan.dispatches.size()).key("dispatches").begin_array();
  for (std::size_t i = 0; i < plan.dispatches.size(); ++i) {
    const PlannedDispatch& dispatch = plan.dispatches[i];
    json.begin_object();
    write_call(json, model.graph().calls[dispatch.call]);
    json.member("kernel", to_string(model.kernels()[dispatch.kernel]));
    json.member("kernel_index", dispatch.kernel);
    write_grid(json, dispatch.grid);
    write_bindings(json, plan, dispatch);
    if (more) more(json, i);
    json.end_object();
  }
  json.end_array();
}

void write_match(JsonWriter& json, const CallMatch& match) {
  write_array(json, "inputs", match.inputs, [&](const std::vector<std::size_t>& candidates) {
    json.begin_array();
    for (const std::size_t candidate : candidates) json.value(candidate);
    json.end_array();
  });
  json.member("first_output", match.first_output);
  write_array(json, "outputs", match.outputs, [&](std::size_t output) { json.value(output); });
}

}  // namespace etwebgpu
