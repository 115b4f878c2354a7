// Lowers a graph at live sizes and gives every buffer a place: Graph + LiveState -> Plan.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/op.h"
#include "passes/passes.h"
#include "plan/plan.h"

namespace etwebgpu {

// A mutable tensor kept on the device between calls.
struct StateSpec {
  ValueId value = kNoValue;
  PackedConstant initial;  // its first contents
  std::uint64_t bytes = 0;
};

// What all plans of a model share. Grows while plans are made; indices stay valid.
struct SharedTables {
  ConstantPool constants;
  std::vector<StateSpec> states;
  std::vector<std::int32_t> state_of;  // by ValueId of a root; -1 if not a state
  std::vector<KernelVariant> kernels;
  std::unordered_map<std::string, std::uint32_t> kernel_index;
  std::vector<ValueId> scalars;           // every SymInt, in slot order
  std::vector<std::int32_t> scalar_slot;  // by ValueId; -1 if not a SymInt
  std::vector<ValueId> baked;             // SymInts whose value is part of a plan's key
  std::vector<Storage> narrow, wide;      // by ValueId: for hosts with int32 alone, and with int64
};

struct PlannerInput {
  const Graph& graph;
  std::span<const Op* const> ops;  // by call
  const Aliasing& aliasing;
  const Capabilities& capabilities;
  const ModelOptions& options;
  std::span<const std::uint8_t> host_only;  // by call: nothing on the device needs it
  // At load, by call: its integers are not known yet, so that only later plans have it. Or empty.
  std::span<const std::uint8_t> postponed = {};
  // At load, activations may pass the device's limits: shorter inputs will not.
  bool check_activation_limits = true;
  bool wide_integers = true;  // SharedTables::wide

  std::span<const Storage> layout(const SharedTables& tables) const {
    return wide_integers ? tables.wide : tables.narrow;
  }
};

Result<std::unique_ptr<Plan>> make_plan(const PlannerInput& input, const LiveState& live,
                                        SharedTables& tables);

}  // namespace etwebgpu
