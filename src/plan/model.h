// A Model is a compiled delegate: the rewritten graph, its packed constants and mutable states, the
// kernels it uses, and its plans, cached by live sizes. No GPU, no I/O.
//
//   TRY_ASSIGN(auto model, Model::create(std::move(graph), capabilities, options));
//   ... the executor uploads model->constants() and model->states() ...
//   per call:  TRY_ASSIGN(const Plan* plan, model->prepare(inputs));
//   ... the executor uploads dirty scalars and inputs, replays *plan, reads the outputs ...
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/capabilities.h"
#include "base/result.h"
#include "ir/graph.h"
#include "ops/op.h"
#include "passes/passes.h"
#include "plan/host_calls.h"
#include "plan/plan.h"
#include "plan/planner.h"

namespace etwebgpu {

// What a graph does not say of itself.
struct Surroundings {
  // By ValueId, or empty: constants that are states although this graph does not write them,
  // because another of the program does.
  std::span<const std::uint8_t> written_elsewhere = {};
  // Elements of a constant of integers that the host computes with.
  std::function<Result<HostElements>(const TensorInfo&)> integers = {};
  // Where the caller makes constants that are made of others (Constant::made), else empty: then
  // calls compute them.
  ConstantTest is_zero = {};
  // Reads a factor of the program; empty: calls that have one as a constant stay as they are.
  ConstantNumber number = {};
  // By ValueId, or empty: how values are stored, where the graph is a part of another that says.
  std::span<const Storage> storages = {};
};

// One input of a call, as the host has it.
struct HostInput {
  Dims sizes;                              // live sizes of a tensor
  std::span<const std::int64_t> elements;  // its content, where Model::wants_host_data says so
  std::int64_t scalar = 0;                 // for SymInt inputs
};

class Model {
 public:
  static Result<std::unique_ptr<Model>> create(Graph graph, const Capabilities& capabilities,
                                               const ModelOptions& options,
                                               const Surroundings& surroundings = {});

  const Graph& graph() const { return graph_; }
  std::span<const PackedConstant> constants() const { return tables_.constants.constants(); }
  std::span<const StateSpec> states() const { return tables_.states; }
  // Grows as plans for new live sizes are made; indices stay valid.
  std::span<const KernelVariant> kernels() const { return tables_.kernels; }
  // How each value is stored, by ValueId, where the host has int64 tensors.
  std::span<const Storage> storages() const { return tables_.wide; }
  const Aliasing& aliasing() const { return aliasing_; }
  // Sizes and scalars of the last prepare; at first as recorded.
  const LiveState& live() const { return live_; }
  // SymInts in slot order; fixed after create.
  std::span<const ValueId> scalars() const { return tables_.scalars; }

  // True if infer reads this input's elements on the host (a position, say).
  bool wants_host_data(std::size_t input) const { return host_.inputs[input] != 0; }

  // Sets live sizes and scalars from the inputs (as many as graph().inputs) and returns the plan
  // for them, valid until the next prepare. After an error the next call works. `wide_integers`:
  // the host has int64 tensors, so that integers are computed in 64 bits.
  Result<const Plan*> prepare(std::span<const HostInput> inputs, bool wide_integers = true);

  // Live scalar values by slot, and whether each changed since clear_dirty().
  std::span<const std::int32_t> scalar_values() const { return scalar_values_; }
  std::span<const std::uint8_t> scalar_dirty() const { return scalar_dirty_; }
  void clear_dirty();

  // The plan for the recorded bounds, made at load: for inspection and pipeline warm-up. Its
  // activations may pass the device's limits.
  const Plan& bound_plan() const { return *bound_plan_; }

 private:
  Model(Graph graph, const Capabilities& capabilities, const ModelOptions& options)
      : graph_(std::move(graph)), capabilities_(capabilities), options_(options) {}

  Result<void> check_operators() const;
  Result<void> resolve_operators();
  Result<void> check_definitions() const;
  Result<void> make_tables(std::span<const Storage> storages);
  Result<void> read_host_constants(const Surroundings& surroundings);
  void find_dependencies();
  Result<void> plan_bounds();

  PlannerInput planner_input(bool check_activation_limits, bool wide_integers) const {
    return {.graph = graph_,
            .ops = ops_,
            .aliasing = aliasing_,
            .capabilities = capabilities_,
            .options = options_,
            .host_only = host_.only,
            .check_activation_limits = check_activation_limits,
            .wide_integers = wide_integers};
  }
  Result<void> set_inputs(std::span<const HostInput> inputs);
  Result<void> set_tensor_input(std::size_t position, const HostInput& input);
  Result<void> infer(bool everything, bool at_load);
  Result<void> infer_call(std::size_t call, bool at_load);
  Result<void> postpone(std::size_t call, Error error);
  Result<void> evaluate_call(std::size_t call);
  Result<void> update_scalars();
  Result<const Plan*> find_or_make_plan();
  bool shapes_changed() const;

  Graph graph_;
  Capabilities capabilities_;
  ModelOptions options_;
  std::vector<const Op*> ops_;              // by call
  std::vector<std::vector<ValueId>> deps_;  // by call: every value its infer may look at
  Aliasing aliasing_;
  SharedTables tables_;
  HostReads host_;
  std::vector<std::uint8_t> unknown_scalars_;  // by ValueId: at load
  std::vector<std::uint8_t> postponed_;        // by call: the plan at load does not have it

  LiveState live_;
  bool live_is_valid_ = false;
  bool wide_integers_ = true;                // of the last prepare
  std::vector<HostElements> host_data_;      // by ValueId of a root that the host reads
  std::vector<std::int32_t> scalar_values_;  // by slot
  std::vector<std::uint8_t> scalar_dirty_;   // by slot
  std::unique_ptr<Plan> bound_plan_;

  struct CachedPlan {
    std::vector<std::int64_t> key;
    std::unique_ptr<Plan> plan;
    std::uint64_t last_use = 0;
  };
  std::vector<CachedPlan> plans_;
  std::uint64_t uses_ = 0;
  const Plan* current_ = nullptr;
};

}  // namespace etwebgpu
