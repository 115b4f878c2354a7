// Drivers compile some kernels wrongly, and what comes out looks like any other number. So the
// kernels of a model are tried on the device itself, each against the one that uses no feature.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/capabilities.h"
#include "base/kernel_features.h"
#include "base/result.h"
#include "ops/op.h"
#include "plan/model.h"
#include "webgpu/device.h"

namespace etwebgpu {

// What became of a kernel's trial.
struct KernelVerdict {
  enum class Outcome : std::uint8_t {
    Agrees,
    Differs,  // or does not compile, or loses the device
    Untried,  // too large, say
  };
  Outcome outcome = Outcome::Agrees;
  std::string kernel = {};                   // its variant: to_string(KernelVariant)
  std::string why = {};                      // unless it agrees
  std::vector<KernelFeature> given_up = {};  // where it differs: what others do without
};

constexpr std::string_view name(KernelVerdict::Outcome outcome) {
  constexpr std::string_view names[] = {"agrees", "differs", "untried"};
  return names[static_cast<std::size_t>(outcome)];
}

// By the kernel's text (its hash, in hexadecimal digits): of one adapter, driver and provider.
using KernelVerdicts = std::map<std::string, KernelVerdict>;

// The model for a device of these capabilities.
using MakeModel = std::function<Result<std::unique_ptr<Model>>(const Capabilities&)>;

struct SelfTest {
  Capabilities capabilities;  // of the device, less what was given up
  // Kernels that the model would have had and that are wrong here.
  std::vector<KernelVerdict> replaced = {};
};

// Tries those of the model's kernels that `verdicts` does not know, on small seeded values, and
// adds to them. As long as one is wrong, features are given up, those that it needs, until all
// kernels that are left agree. Fails where the model does, and when the device is lost in a trial:
// that kernel's verdict says so, and the next load does without it.
Result<SelfTest> self_test(const std::shared_ptr<Device>& device, const MakeModel& make,
                           const ModelOptions& options, KernelVerdicts& verdicts);

}  // namespace etwebgpu
