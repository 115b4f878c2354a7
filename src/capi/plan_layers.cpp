#include "capi/plan_layers.h"

#include <string_view>
#include <vector>

namespace etwebgpu {
namespace {

bool is_attention(std::string_view call) {
  return call.find("sdpa") != call.npos || call.find("attention") != call.npos;
}

}  // namespace

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

}  // namespace etwebgpu
