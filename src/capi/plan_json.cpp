#include "capi/plan_json.h"

#include <string_view>
#include <vector>

#include "kernels/kernel_source.h"

namespace etwebgpu {
namespace {

bool is_attention(std::string_view call) {
  return call.find("sdpa") != call.npos || call.find("attention") != call.npos;
}

// A decoder layer is what lies between one attention and the next.
void write_layers(JsonWriter& json, const Model& model, const Plan& plan) {
  std::vector<std::size_t> starts;  // the first dispatch of every attention call
  std::int64_t last_call = -1;
  for (std::size_t i = 0; i < plan.dispatches.size(); ++i) {
    const std::uint32_t call = plan.dispatches[i].call;
    if (call == last_call || !is_attention(model.graph().calls[call].name)) continue;
    starts.push_back(i);
    last_call = call;
  }
  if (starts.empty()) return;
  json.member("layers", starts.size());
  const double span = static_cast<double>(starts.back() - starts.front());
  const double per_layer = starts.size() > 1 ? span / static_cast<double>(starts.size() - 1)
                                             : static_cast<double>(plan.dispatches.size());
  json.member("dispatches_per_layer", per_layer);
}

void write_tensors(JsonWriter& json, std::string_view key, std::span<const PlannedTensor> tensors) {
  json.key(key).begin_array();
  for (const PlannedTensor& tensor : tensors) {
    json.begin_object().member("position", tensor.position).member("type", name(tensor.dtype));
    json.member("sizes", tensor.sizes).end_object();
  }
  json.end_array();
}

void write_covered(JsonWriter& json, std::span<const CallOrigin> calls) {
  json.key("covers").begin_array();
  for (const CallOrigin& origin : calls) json.value(origin.name);
  json.end_array().key("covered_nodes").begin_array();
  for (const CallOrigin& origin : calls) json.value(origin.node_id);
  json.end_array();
}

void write_dispatch(JsonWriter& json, const Model& model, const PlannedDispatch& dispatch,
                    const DispatchTime* time) {
  const Call& call = model.graph().calls[dispatch.call];
  json.begin_object().member("call", call.name).member("node", call.node_id);
  if (!call.covers.empty()) write_covered(json, call.covers);
  json.member("kernel", to_string(model.kernels()[dispatch.kernel]));
  json.key("grid").begin_array();
  json.value(dispatch.grid.x).value(dispatch.grid.y).value(dispatch.grid.z).end_array();
  if (time != nullptr) {
    json.member("begin_microseconds", time->begin).member("microseconds", time->microseconds);
  }
  json.end_object();
}

}  // namespace

void write_plan(JsonWriter& json, const Model& model, const Plan& plan,
                std::span<const DispatchTime> times) {
  write_tensors(json, "inputs", plan.inputs);
  write_tensors(json, "outputs", plan.outputs);
  json.member("slot_bytes", plan.slot_bytes()).key("slots").begin_array();
  for (std::uint64_t bytes : plan.slots) json.value(bytes);
  json.end_array().member("dispatch_count", plan.dispatches.size());
  write_layers(json, model, plan);
  json.key("dispatches").begin_array();
  for (std::size_t i = 0; i < plan.dispatches.size(); ++i) {
    write_dispatch(json, model, plan.dispatches[i], i < times.size() ? &times[i] : nullptr);
  }
  json.end_array();
}

}  // namespace etwebgpu
