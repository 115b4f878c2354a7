// Graphs compiled without a device, and what is in their plans.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plan/model.h"

namespace etwebgpu::testing {

using Names = std::vector<std::string>;

inline HostInput host_input(const Dims& sizes, std::int64_t scalar = 0,
                            std::span<const std::int64_t> elements = {}) {
  return {.sizes = sizes, .elements = elements, .scalar = scalar};
}

inline HostInput host_scalar(std::int64_t scalar) { return host_input({}, scalar); }

// Null after a test failure that says why.
inline std::unique_ptr<Model> compile(Graph graph, const Capabilities& capabilities = {},
                                      const ModelOptions& options = {}) {
  // Constants have no bytes: zero points are zeros.
  const Surroundings surroundings{
      .is_zero = [](std::int32_t) -> Result<bool> { return true; },
      .number = [](const TensorInfo&) -> Result<std::optional<double>> { return 1.0; }};
  auto model = Model::create(std::move(graph), capabilities, options, surroundings);
  EXPECT_TRUE(model) << model.error().message;
  return model ? *std::move(model) : nullptr;
}

// The plan at these inputs; null after a test failure that says why.
inline const Plan* plan_at(Model& model, std::span<const HostInput> inputs) {
  const auto plan = model.prepare(inputs);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : nullptr;
}

inline Names call_names(const Graph& graph) {
  Names out;
  for (const Call& call : graph.calls) out.push_back(call.name);
  return out;
}

inline std::int64_t count(const Names& names, std::string_view name) {
  return std::ranges::count(names, name);
}

inline const KernelVariant& kernel(const Model& model, const Plan& plan, std::size_t dispatch = 0) {
  return model.kernels()[plan.dispatches[dispatch].kernel];
}

inline Names kernel_names(const Model& model, const Plan& plan) {
  Names out;
  for (std::size_t i = 0; i < plan.dispatches.size(); ++i)
    out.push_back(kernel(model, plan, i).name);
  return out;
}

// The value of a template's parameter, or "".
inline std::string parameter(const KernelVariant& kernel, std::string_view name) {
  const auto at = std::ranges::find(kernel.parameters, name, [](const auto& p) { return p.first; });
  return at == kernel.parameters.end() ? std::string() : at->second;
}

inline std::span<const PlannedBinding> bindings(const Plan& plan, std::size_t dispatch) {
  const PlannedDispatch& d = plan.dispatches[dispatch];
  return std::span(plan.bindings).subspan(d.first_binding, d.binding_count);
}

}  // namespace etwebgpu::testing
