// One run of a slice of a model (plan/kernel_slices.h): what an executor is given, and what it
// gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/result.h"
#include "ops/op.h"
#include "plan/kernel_slices.h"
#include "plan/model.h"

namespace etwebgpu {

// Bytes that a trial takes, and of a tensor at most. Less in a page, whose heap does not shrink.
inline constexpr std::uint64_t kMostTrialMemory = sizeof(void*) == 4 ? 64u << 20 : 1u << 30;

// Contents for a graph's constants, from a seed.
class MadeUpConstants {
 public:
  explicit MadeUpConstants(const Graph& graph);

  // Fails for one that no value has, and for one that is too large.
  Result<std::vector<std::byte>> bytes(std::int32_t index) const;
  Result<HostElements> integers(const TensorInfo& info) const;

 private:
  void add(const TensorInfo& info);

  const Graph& graph_;
  std::map<std::int32_t, const TensorInfo*> tensors_;  // by constant
};

struct TrialInput {
  DType dtype = DType::Float32;
  Dims sizes = {};
  std::vector<std::byte> bytes = {};
  bool is_scalar = false;
  std::int64_t scalar = 0;
};

// Floats in f32, whatever they are in the graph.
struct TrialOutput {
  DType dtype = DType::Float32;
  std::vector<std::byte> bytes = {};
};
using TrialOutputs = std::map<std::size_t, TrialOutput>;  // by number, tensors alone

struct KernelTrial {
  std::unique_ptr<Model> model;        // which the executor takes
  std::set<std::string> kernels = {};  // of its plan
};

// The trials of one slice, all with the same inputs and constants.
class SliceTrials {
 public:
  // Fails where inputs are too large to be tried. The slice must live longer.
  static Result<SliceTrials> of(const KernelSlice& slice, const ModelOptions& options);

  // With the kernels for such a device.
  Result<KernelTrial> plan(const Capabilities& capabilities) const;

  // Where results differ by more than rounding explains, in words; "" where they agree.
  std::string difference(const TrialOutputs& got, const TrialOutputs& wanted) const;

  const std::vector<TrialInput>& inputs() const { return inputs_; }
  const MadeUpConstants& constants() const { return constants_; }

 private:
  SliceTrials(const KernelSlice& slice, const ModelOptions& options);

  const KernelSlice* slice_;
  ModelOptions options_;
  MadeUpConstants constants_;
  std::vector<TrialInput> inputs_;
};

}  // namespace etwebgpu
