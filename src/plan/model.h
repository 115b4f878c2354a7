// A Model is a compiled delegate: the rewritten graph, its packed constants and mutable states, the
// kernels it uses, and its plans, cached by live sizes. No GPU, no I/O.
//
//   TRY_ASSIGN(auto model, Model::create(std::move(graph), capabilities, options));
//   ... the executor uploads model->constants() and model->states() ...
//   per call:  TRY_ASSIGN(const Plan* plan, model->prepare(inputs));
//   ... the executor uploads dirty scalars and inputs, replays *plan, reads the outputs ...
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/capabilities.h"
#include "base/result.h"
#include "ir/graph.h"
#include "ops/op.h"
#include "plan/plan.h"

namespace etwebgpu {

// One input of a call, as the host has it.
struct HostInput {
  Dims sizes;                              // live sizes; empty for a scalar input
  std::span<const std::int32_t> elements;  // int32 content where the input is integer typed and small
                                           // (Model::wants_host_data), else empty
  std::int64_t scalar = 0;                 // for SymInt inputs
};

// A mutable tensor kept on the device between calls.
struct StateSpec {
  ValueId value = kNoValue;
  PackedConstant initial;     // its first contents
  std::uint64_t bytes = 0;
};

class Model {
 public:
  static Result<std::unique_ptr<Model>> create(Graph graph, const Capabilities& capabilities,
                                               const ModelOptions& options);

  const Graph& graph() const { return graph_; }
  std::span<const PackedConstant> constants() const { return pool_.constants(); }
  std::span<const StateSpec> states() const { return states_; }
  std::span<const KernelVariant> kernels() const { return kernels_; }
  // SymInts with a slot in the scalar buffer, in slot order.
  std::span<const ValueId> scalars() const { return scalar_slots_; }

  // True if infer reads this input's elements on the host (a position, say).
  bool wants_host_data(std::size_t input) const;

  // Sets live sizes and scalars from the inputs and returns the plan for them; valid until the next
  // prepare. On error the previous state stays usable.
  Result<const Plan*> prepare(std::span<const HostInput> inputs);

  // Live scalar values by slot, and whether each changed since clear_dirty().
  std::span<const std::int32_t> scalar_values() const { return scalar_values_; }
  std::span<const std::uint8_t> scalar_dirty() const { return scalar_dirty_; }
  void clear_dirty();

  // The plan for the recorded bounds, made at load: for inspection and pipeline warm-up.
  const Plan& bound_plan() const { return *bound_plan_; }

 private:
  Model(Graph graph, const Capabilities& capabilities, const ModelOptions& options);

  Result<void> check_and_rewrite();
  Result<void> assign_roles();
  Result<void> infer_all(LiveState& live, std::span<const std::vector<std::int32_t>> host, bool at_load);
  Result<bool> infer_dirty(std::span<const HostInput> inputs);
  Result<std::unique_ptr<Plan>> make_plan(const LiveState& live);

  Graph graph_;
  Capabilities capabilities_;
  ModelOptions options_;
  std::vector<const Op*> ops_;             // by call
  std::vector<ValueId> storage_;           // by value: root of its memory
  std::vector<std::uint8_t> mutated_;      // by value
  ConstantPool pool_;
  std::vector<StateSpec> states_;
  std::vector<std::int32_t> state_of_;     // by value: index into states_, or -1
  std::vector<KernelVariant> kernels_;
  std::unordered_map<std::string, std::uint32_t> kernel_index_;
  std::vector<ValueId> scalar_slots_;
  std::vector<std::int32_t> slot_of_scalar_;  // by value
  std::vector<std::int32_t> scalar_values_;
  std::vector<std::uint8_t> scalar_dirty_;
  std::vector<std::uint8_t> wants_host_;   // by input position

  LiveState live_;
  std::vector<std::vector<std::int32_t>> host_data_;  // by value
  std::unique_ptr<Plan> bound_plan_;

  struct CachedPlan {
    std::vector<std::int64_t> key;
    std::unique_ptr<Plan> plan;
  };
  std::unordered_multimap<std::uint64_t, CachedPlan> plans_;
  std::vector<ValueId> baked_;             // scalars whose values are part of the plan key
  const Plan* current_ = nullptr;
};

}  // namespace etwebgpu
