// A loaded delegate as a program calls it: with one list of values, inputs and then outputs.
#pragma once

#include <executorch/runtime/backend/backend_execution_context.h>
#include <executorch/runtime/core/evalue.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "capi/delegate.h"
#include "plan/call_match.h"

namespace etwebgpu {

class DelegateCall {
 public:
  // Loads the delegate again, with the states it had.
  using Reload = std::function<Result<LoadedDelegate>(const DelegateStates& before)>;

  // `aliased`: exported with alias_buffer_mutations.
  DelegateCall(LoadedDelegate loaded, bool aliased, Reload reload)
      : loaded_(std::move(loaded)), aliased_(aliased), reload_(std::move(reload)) {}

  const std::shared_ptr<Runner>& runner() const { return loaded_.runner; }

  // Several threads may call it; calls take turns.
  Result<void> run(executorch::runtime::BackendExecutionContext& context,
                   std::span<executorch::runtime::EValue*> values);

 private:
  Result<void> match(std::span<executorch::runtime::EValue*> values);
  Result<void> read_inputs(std::span<executorch::runtime::EValue*> values);

  std::mutex mutex_;
  LoadedDelegate loaded_;
  bool aliased_;
  Reload reload_;
  std::optional<CallMatch> match_;  // found at the first call
  std::vector<HostTensor> inputs_;
};

}  // namespace etwebgpu
