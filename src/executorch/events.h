// What ETDump and its Inspector show of an execute.
#pragma once

#include <executorch/runtime/core/event_tracer.h>

#include "webgpu/runner.h"

namespace etwebgpu {

// Logs one delegate event per dispatch, named "<position> <operator> <kernel>", at its GPU times,
// with the kernel's variant and grid as JSON metadata. Without GPU timestamps: one event for the
// whole execute. `begin` and `end` are the host's ticks around the execute.
void log_events(executorch::runtime::EventTracer& tracer, const Runner& runner,
                et_timestamp_t begin, et_timestamp_t end);

}  // namespace etwebgpu
