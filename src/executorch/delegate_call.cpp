#include "executorch/delegate_call.h"

#include <executorch/runtime/platform/platform.h>

#include <algorithm>

#include "executorch/events.h"
#include "executorch/values.h"

namespace etwebgpu {

namespace et = executorch::runtime;

Result<void> DelegateCall::run(et::BackendExecutionContext& context,
                               std::span<et::EValue*> values) {
  std::lock_guard own(mutex_);
  // Another method of the program has turned out to write what was a constant here.
  if (loaded_.states && loaded_.states->is_stale()) {
    TRY_ASSIGN(loaded_, reload_(*loaded_.states));
  }
  TRY(match(values));
  TRY(read_inputs(values));
  ValueOutputs outputs(values.subspan(match_->first_output), match_->outputs);
  const et_timestamp_t begin = et::pal_current_ticks();
  TRY(loaded_.runner->execute(inputs_, outputs));
  if (context.event_tracer() != nullptr) {
    log_events(*context.event_tracer(), *loaded_.runner, begin, et::pal_current_ticks());
  }
  return {};
}

// Not at load: ExecuTorch gives init the blob, but not the program's calls.
Result<void> DelegateCall::match(std::span<et::EValue*> values) {
  if (match_ && match_->first_output + match_->outputs.size() == values.size()) return {};
  std::vector<PassedValue> passed;
  for (std::size_t i = 0; i < values.size(); ++i) {
    // All values of a program lie in one array.
    auto value = passed_value(*values[i], values[i] - values[0]);
    if (!value) return std::unexpected(std::move(value).error().within("value ", i));
    passed.push_back(*value);
  }
  TRY_ASSIGN(match_, match_call(loaded_.runner->model().graph(), passed, aliased_));
  return {};
}

Result<void> DelegateCall::read_inputs(std::span<et::EValue*> values) {
  inputs_.clear();
  for (std::size_t i = 0; i < match_->inputs.size(); ++i) {
    const std::vector<std::size_t>& candidates = match_->inputs[i];
    TRY_ASSIGN(const HostTensor first, read_value(i, *values[candidates[0]]));
    for (std::size_t c = 1; c < candidates.size(); ++c) {
      TRY_ASSIGN(const HostTensor other, read_value(i, *values[candidates[c]]));
      CHECK_OR_FAIL(is_same(first, other), ErrorKind::NotSupported, "input ", i,
                    " of the delegate may be value ", candidates[0], " or value ", candidates[c],
                    " of the program's call (both ",
                    describe(*passed_value(*values[candidates[0]], 0)),
                    "), which now differ: the exporter has left an input that nothing reads out of "
                    "the delegate, and which one cannot be told; export the model without it, or "
                    "through executorch_webgpu.lowering");
    }
    inputs_.push_back(first);
  }
  return {};
}

}  // namespace etwebgpu
