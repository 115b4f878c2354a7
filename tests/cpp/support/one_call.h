// A graph of one call, compiled and run on sizes alone: what infer says and what lower emits.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plan/model.h"

namespace etwebgpu::testing {

inline HostInput host_input(Dims sizes, std::int64_t scalar = 0,
                            std::span<const std::int64_t> elements = {}) {
  HostInput out;
  out.sizes = sizes;
  out.scalar = scalar;
  out.elements = elements;
  return out;
}

inline HostInput host_scalar(std::int64_t scalar) { return host_input({}, scalar); }

class OneCall {
 public:
  explicit OneCall(std::string name) { call_.name = std::move(name); }

  OneCall& input(Dims bound, DType dtype = DType::Float32) {
    const ValueId id = tensor(std::move(bound), dtype);
    graph_.inputs.push_back(id);
    call_.args.push_back(id);
    return *this;
  }
  // A SymInt that the host gives.
  OneCall& scalar_input() {
    graph_.inputs.push_back(graph_.add(SymInt{}));
    call_.args.push_back(graph_.inputs.back());
    return *this;
  }
  // Not inlined: g++ 12 then warns of uninitialized alternatives of the variant.
  [[gnu::noinline]] OneCall& arg(const Value& value) {
    call_.args.push_back(graph_.add(value));
    return *this;
  }
  OneCall& ints(std::vector<std::int64_t> items) { return arg(IntList{std::move(items)}); }
  // All arguments so far become one list of tensors.
  OneCall& as_list() {
    const ValueId list = graph_.add(ValueList{std::move(call_.args)});
    call_.args = {list};
    return *this;
  }
  OneCall& output(Dims bound, DType dtype = DType::Float32) {
    const ValueId id = tensor(std::move(bound), dtype);
    graph_.outputs.push_back(id);
    call_.args.push_back(id);
    return *this;
  }

  // The load's error, or "".
  std::string load(const Capabilities& capabilities = {}) {
    graph_.calls.push_back(call_);
    auto model = Model::create(std::move(graph_), capabilities, ModelOptions{});
    if (!model) return model.error().message;
    model_ = *std::move(model);
    return {};
  }

  struct Input {
    Dims sizes;
    std::int64_t scalar = 0;
  };

  // The plan at these sizes; null with error() set if they do not fit.
  const Plan* run(const std::vector<Input>& inputs) {
    std::vector<HostInput> host;
    for (const Input& i : inputs) host.push_back(host_input(i.sizes, i.scalar));
    auto plan = model_->prepare(host);
    error_ = plan ? std::string() : plan.error().message;
    return plan ? *plan : nullptr;
  }
  // Output sizes at these input sizes, or the error.
  std::string sizes(const std::vector<Input>& inputs) {
    const Plan* plan = run(inputs);
    return plan ? to_string(plan->outputs.front().sizes) : error_;
  }
  // The value of template parameter `name` in the plan's n-th dispatch.
  std::string parameter(const Plan& plan, std::size_t n, std::string_view name) const {
    for (const auto& [key, value] : model_->kernels()[plan.dispatches[n].kernel].parameters) {
      if (key == name) return value;
    }
    return {};
  }
  const std::string& error() const { return error_; }

 private:
  ValueId tensor(Dims bound, DType dtype) {
    return graph_.add(TensorInfo{.dtype = dtype, .host_dtype = dtype, .bound = std::move(bound)});
  }

  Graph graph_;
  Call call_;
  std::unique_ptr<Model> model_;
  std::string error_;
};

}  // namespace etwebgpu::testing
