// Workgroup memory full of NaN for whatever dispatch comes next, so that a kernel that reads what
// it has not written shows: Dawn zeroes that memory unless told not to, wgpu-native may leave in it
// what the dispatch before had. For tests: with ETWEBGPU_POISON_WORKGROUP=1, before every dispatch.
#pragma once

#include <memory>

#include "base/result.h"
#include "webgpu/device.h"

namespace etwebgpu {

class WorkgroupPoison {
 public:
  // Null unless the switch is on.
  static Result<std::unique_ptr<WorkgroupPoison>> create(const std::shared_ptr<Device>& device);
  ~WorkgroupPoison();
  WorkgroupPoison(const WorkgroupPoison&) = delete;

  // The next dispatch of the pass needs its own pipeline and bind group set afterwards.
  void encode(WGPUComputePassEncoder pass) const;

 private:
  explicit WorkgroupPoison(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  std::shared_ptr<Device> device_;
  const Pipeline* pipeline_ = nullptr;
  Buffer witness_;
  BindGroupHandle group_;
};

}  // namespace etwebgpu
