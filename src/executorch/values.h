// ExecuTorch's values as the runner takes them.
#pragma once

#include <executorch/runtime/core/evalue.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "plan/call_match.h"
#include "webgpu/host_tensor.h"
#include "webgpu/runner.h"

namespace etwebgpu {

// What a value of a call is, at `place` among the program's.
Result<PassedValue> passed_value(const executorch::runtime::EValue& value, std::int64_t place);

// Input `index` as a host tensor that refers to the value's memory. Fails for values that are
// neither a tensor of a known dtype nor an integer or bool.
Result<HostTensor> read_value(std::size_t index, const executorch::runtime::EValue& value);

// Resizes the output values to the live sizes on every call and writes into their memory.
class ValueOutputs final : public OutputSink {
 public:
  // `outputs`, by value: the graph's output that it gets.
  ValueOutputs(std::span<executorch::runtime::EValue*> values, std::span<const std::size_t> outputs)
      : values_(values), outputs_(outputs) {}

  Result<void> place(std::size_t index, DType recorded, const Dims& sizes,
                     std::vector<HostDestination>& to) override;
  bool wants_wide(std::size_t index) const override;
  Result<void> scalar(std::size_t index, std::int64_t value) override;

 private:
  std::span<executorch::runtime::EValue*> values_;
  std::span<const std::size_t> outputs_;
};

}  // namespace etwebgpu
