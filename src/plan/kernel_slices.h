// The kernels of a model that another choice of kernels does without, each in a part of the model's
// graph that an executor can run by itself: the call behind the kernel, and the views that it reads
// through. A slice of a graph is a graph: values keep their ids, what it reads are its inputs, what
// it writes its outputs, and constants keep types and sizes while their contents are anybody's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dims.h"
#include "base/storage.h"
#include "ir/graph.h"
#include "plan/model.h"

namespace etwebgpu {

struct KernelSlice {
  Graph graph = {};                         // already rewritten: compile it without fusing
  std::vector<Dims> sizes = {};             // of each input, live
  std::vector<std::int64_t> scalars = {};   // of each input that is a SymInt, else 0
  std::vector<KernelVariant> kernels = {};  // those that only the model has
  std::string call = {};                    // where they are: "call 12 aten.mm.default"
  // By ValueId, as in the model: constants that are states, and how values are stored.
  std::vector<std::uint8_t> states = {};
  std::vector<Storage> storages = {};

  // For Model::create, beside what the caller knows of constants.
  Surroundings surroundings() const { return {.written_elsewhere = states, .storages = storages}; }
};

// A slice for each kernel in plans of `model` that is not in those of `other`, which is the same
// graph with other capabilities: planned for one row, for some, and for all that the graph was
// recorded with, as far as it can be. Of several calls the first with the fewest rows is taken.
std::vector<KernelSlice> kernel_slices(Model& model, Model& other);

}  // namespace etwebgpu
