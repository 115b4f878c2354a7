// What self tests found, kept between processes, so that a kernel is tried once on an adapter with
// a driver: self_test.json in $XDG_CACHE_HOME/executorch-webgpu, else ~/.cache/executorch-webgpu.
//
//   {"version": 1, "adapters": [{"provider", "implementation", "adapter", "driver", "trusted",
//    "kernels": as plan/kernel_verdicts.h has it}]}
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "plan/kernel_verdicts.h"
#include "webgpu/device.h"
#include "webgpu/provider.h"

namespace etwebgpu {

// What verdicts hold for. With another driver or implementation they are void.
struct TestedAdapter {
  std::string provider, implementation, adapter, driver;
  bool trusted = false;

  static TestedAdapter of(const Device& device);
  bool operator==(const TestedAdapter&) const = default;
};

// Those of an adapter; none where there is no file. Fails for a file that cannot be read or is not
// what it should be.
Result<KernelVerdicts> kept_verdicts(const TestedAdapter& adapter);

// Takes the place of what is kept of this adapter, whatever the file was before.
Result<void> keep_verdicts(const TestedAdapter& adapter, const KernelVerdicts& verdicts);

// Adds "self_test" to the open object of an adapter that has been tested, trusted or not:
// {"tried": 12, "untried": 0, "replaced": [{"kernel", "without": ["subgroups"], "why"}]}
void write_self_test(JsonWriter& json, const AdapterDescription& adapter,
                     std::string_view implementation);

}  // namespace etwebgpu
