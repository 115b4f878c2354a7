// A Plan is everything a device needs to run a model at given live sizes: plain data, made without
// a GPU and replayed by an executor that knows nothing of operators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/storage.h"
#include "ir/graph.h"
#include "ops/kernel_call.h"

namespace etwebgpu {

// Where a binding's bytes live. Every (space, index) except Uniforms and Scalars is one GPU buffer.
enum class Space : std::uint8_t {
  Slot,  // activation memory: shared by tensors with disjoint lifetimes and by all plans of a model
  Constant,  // Model::constants()[index]
  State,     // Model::states()[index]: a mutable tensor, kept between executes
  Uniforms,  // the plan's own parameter bytes
  Scalars,   // the model's live scalars: index * uniform alignment, 16 bytes each
};

struct PlannedBinding {
  Space space = Space::Slot;
  std::uint32_t index = 0;
  Access access = Access::Read;  // storage only
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // bytes; always set
};

struct PlannedDispatch {
  std::uint32_t kernel = 0;  // index into Model::kernels()
  std::uint32_t call = 0;    // index into the rewritten graph's calls: for labels and profiling
  std::uint32_t first_binding = 0, binding_count = 0;  // into Plan::bindings, in @binding order
  Grid grid;  // Grid::live is an index into Model::scalars() here, or -1
};

// A graph input or output as the host sees it and where it lives.
struct PlannedTensor {
  std::uint32_t position = 0;  // among the graph's inputs or outputs
  Space space = Space::Slot;
  std::uint32_t index = 0;
  DType dtype = DType::Float32;  // as recorded
  Storage storage = Storage::F32;
  Dims sizes;
  bool on_device = true;  // inputs: false if no dispatch reads it (a position read on the host)

  bool operator==(const PlannedTensor&) const = default;
};

struct Plan {
  std::vector<std::uint64_t> slots;  // bytes each slot must have; slots are shared between plans
  std::vector<std::byte> uniforms;   // uploaded once when the plan is first used
  std::vector<PlannedBinding> bindings;
  std::vector<PlannedDispatch> dispatches;
  std::vector<PlannedTensor> inputs;
  std::vector<PlannedTensor> outputs;

  // The executor's cached objects (bind groups, uniform buffer) for this plan, dropped with it when
  // the model evicts the plan.
  mutable std::shared_ptr<void> replay;

  std::uint64_t slot_bytes() const {
    std::uint64_t total = 0;
    for (std::uint64_t bytes : slots) total += bytes;
    return total;
  }
};

}  // namespace etwebgpu
