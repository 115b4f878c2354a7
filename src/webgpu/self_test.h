// The trials of a model's kernels on a device (plan/kernel_tester.h).
#pragma once

#include <memory>

#include "base/result.h"
#include "ops/op.h"
#include "plan/kernel_tester.h"
#include "webgpu/device.h"

namespace etwebgpu {

// Adds to the verdicts, which hold for this adapter, driver and provider. Fails where the model
// does, and when the device is lost in a trial.
Result<TestedKernels> self_test(const std::shared_ptr<Device>& device, MakeModel make,
                                const ModelOptions& options, KernelVerdicts& verdicts);

}  // namespace etwebgpu
