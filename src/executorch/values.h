// ExecuTorch's values as the runner takes them.
#pragma once

#include <executorch/runtime/core/evalue.h>

#include <cstddef>
#include <span>

#include "base/result.h"
#include "webgpu/host_tensor.h"
#include "webgpu/runner.h"

namespace etwebgpu {

// The input as a host tensor that refers to the value's memory. Fails for values that are neither a
// contiguous tensor of a known dtype nor an integer or bool.
Result<HostTensor> read_value(std::size_t index, const executorch::runtime::EValue& value);

// Resizes the output values to the live sizes on every call and writes into their memory.
class ValueOutputs final : public OutputSink {
 public:
  explicit ValueOutputs(std::span<executorch::runtime::EValue*> values) : values_(values) {}

  Result<HostDestination> place(std::size_t index, DType recorded, const Dims& sizes) override;
  Result<void> scalar(std::size_t index, std::int64_t value) override;

 private:
  std::span<executorch::runtime::EValue*> values_;
};

}  // namespace etwebgpu
