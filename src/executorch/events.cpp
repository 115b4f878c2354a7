#include "executorch/events.h"

#include <executorch/runtime/core/event_tracer_hooks_delegate.h>
#include <executorch/runtime/platform/platform.h>

#include <string>

#include "base/json.h"
#include "kernels/kernel_source.h"

namespace etwebgpu {
namespace {

namespace et = executorch::runtime;

std::string metadata(const Runner& runner, const PlannedDispatch& dispatch) {
  JsonWriter json;
  json.begin_object();
  json.member("kernel", to_string(runner.model().kernels()[dispatch.kernel]))
      .key("grid")
      .begin_array();
  json.value(dispatch.grid.x).value(dispatch.grid.y).value(dispatch.grid.z).end_array();
  return json.end_object().take();
}

}  // namespace

void log_events(et::EventTracer& tracer, const Runner& runner, et_timestamp_t begin,
                et_timestamp_t end) {
  const auto held = runner.hold();
  const std::span<const DispatchTime> times = runner.times();
  if (times.empty()) {
    et::event_tracer_log_profiling_delegate(&tracer, "webgpu execute", et::kUnsetDelegateDebugIntId,
                                            begin, end);
    return;
  }
  // The GPU's clock has another origin: its first dispatch is put at the execute's begin.
  const et_tick_ratio_t ratio = et::pal_ticks_to_ns_multiplier();
  const double ticks_per_us =
      1000.0 * static_cast<double>(ratio.denominator) / static_cast<double>(ratio.numerator);
  const auto ticks = [&](double us) {
    return begin + static_cast<et_timestamp_t>(us * ticks_per_us);
  };
  for (std::size_t i = 0; i < times.size(); ++i) {
    const DispatchTime& time = times[i];
    const std::string name = cat(i, " ", time.call, " ", time.kernel);
    const std::string details = metadata(runner, runner.last_plan()->dispatches[i]);
    et::event_tracer_log_profiling_delegate(
        &tracer, name.c_str(), et::kUnsetDelegateDebugIntId, ticks(time.begin),
        ticks(time.begin + time.microseconds), details.data(), details.size());
  }
}

}  // namespace etwebgpu
