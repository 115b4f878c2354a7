// The part of `inspect` about the inside of one delegate: graph, weights, memory and plans.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "capi/data_files.h"
#include "capi/inspect.h"
#include "format/program.h"

namespace etwebgpu {

// What is said of a delegate, or of what its program leaves to the host, needs all of this.
struct InspectContext {
  const Program& program;
  const DataFiles& data_files;
  const InspectSettings& settings;
  const Capabilities& capabilities;

  // Whether the program or a data file has bytes under a key.
  bool is_stored(const std::string& key) const {
    return program.named_data(key).has_value() || !data_files.holders(key).empty();
  }
};

// Adds to the open object what src/capi/inspect.h lists from "version" on. Fails, with a part of
// that written, for a delegate that this runtime refuses.
Result<void> write_compiled(JsonWriter& json, const InspectContext& context, const Method& method,
                            const ProgramDelegate& delegate);

}  // namespace etwebgpu
