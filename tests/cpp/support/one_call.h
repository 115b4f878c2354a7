// A graph of one call, compiled and run on sizes alone: what infer says and what lower emits.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {

class OneCall {
 public:
  explicit OneCall(std::string name) : name_(std::move(name)) {}

  OneCall& input(const Dims& bound, DType dtype = DType::Float32) {
    return add(builder_.input(bound, dtype));
  }
  // A SymInt that the host gives.
  OneCall& scalar_input() { return add(builder_.scalar_input()); }
  OneCall& arg(const Value& value) { return add(builder_.value(value)); }
  OneCall& ints(std::vector<std::int64_t> items) { return add(builder_.ints(std::move(items))); }
  // All arguments so far become one list of tensors.
  OneCall& as_list() {
    args_ = {builder_.list(std::move(args_))};
    return *this;
  }
  OneCall& output(const Dims& bound, DType dtype = DType::Float32) {
    builder_.output(builder_.call(name_, args_, bound, dtype));
    return *this;
  }

  // The load's error, or "".
  std::string load(const Capabilities& capabilities = {}) {
    auto model = Model::create(std::move(builder_.graph), capabilities, ModelOptions{});
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
    return testing::parameter(kernel(*model_, plan, n), name);
  }
  const std::string& error() const { return error_; }

 private:
  OneCall& add(ValueId argument) {
    args_.push_back(argument);
    return *this;
  }

  std::string name_;
  GraphBuilder builder_;
  std::vector<ValueId> args_;
  std::unique_ptr<Model> model_;
  std::string error_;
};

}  // namespace etwebgpu::testing
