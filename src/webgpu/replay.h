// A plan made ready for one device: its pipelines, uniform buffer and bind groups, and the encoding
// of its dispatches into a command buffer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "plan/plan.h"
#include "webgpu/device.h"
#include "webgpu/memory.h"
#include "webgpu/workgroup_poison.h"

namespace etwebgpu {

class Profiler;

class Replay {
 public:
  // Compiles the plan's pipelines where the device has them not yet; `kernels` are the model's.
  static Result<std::shared_ptr<Replay>> create(std::shared_ptr<Device> device, const Plan& plan,
                                                std::span<const KernelVariant> kernels);
  ~Replay();
  Replay(const Replay&) = delete;

  // Makes the bind groups, if the slots changed since they were made. fit_slots(plan.slots) comes
  // first.
  Result<void> bind(ModelMemory& memory);

  std::size_t size() const { return steps_.size(); }

  // The y counts of the grids that follow a scalar, in order.
  void live_rows(std::span<const std::int32_t> scalars, std::vector<std::uint32_t>& out) const;

  // Encodes the dispatches [first, last): in one compute pass, or with a profiler in one pass each.
  // `scalars` are the model's live scalars, for grids that follow one.
  void encode(WGPUCommandEncoder encoder, std::size_t first, std::size_t last,
              std::span<const std::int32_t> scalars, Profiler* profiler) const;

 private:
  struct Step {
    WGPUComputePipeline pipeline = nullptr;  // owned by the device
    BindGroupHandle group;
    Grid grid;
  };

  Replay(std::shared_ptr<Device> device, const Plan& plan)
      : device_(std::move(device)), plan_(plan) {}
  Result<void> upload_uniforms();
  BindGroupHandle bind_group(const PlannedDispatch& dispatch, WGPUBindGroupLayout layout,
                             const ModelMemory& memory) const;
  Grid live_grid(const Grid& grid, std::span<const std::int32_t> scalars) const;

  std::shared_ptr<Device> device_;
  const Plan& plan_;
  Buffer uniforms_;
  std::unique_ptr<WorkgroupPoison> poison_;  // before every dispatch, if there is any
  std::vector<const Pipeline*> pipelines_;   // by dispatch
  std::vector<Step> steps_;                  // by dispatch
  std::uint64_t generation_ = UINT64_MAX;    // of the slots in steps_
};

// GPU times of the dispatches of one execute.
class Profiler {
 public:
  struct Time {
    double begin = 0;         // microseconds since the first dispatch began
    double microseconds = 0;  // how long it ran
  };

  explicit Profiler(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Profiler();

  Result<void> reserve(std::size_t dispatches);
  // For the pass around one dispatch.
  WGPUPassTimestampWrites writes(std::size_t dispatch) const;
  void resolve(WGPUCommandEncoder encoder, std::size_t dispatches) const;
  // After the submit; blocks until the GPU is done.
  Result<void> read(std::size_t dispatches);
  std::span<const Time> times() const { return times_; }

 private:
  std::shared_ptr<Device> device_;
  std::vector<QuerySetHandle> sets_;
  Buffer resolved_;
  Buffer staging_;
  std::vector<Time> times_;
};

}  // namespace etwebgpu
