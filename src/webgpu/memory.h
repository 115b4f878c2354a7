// The GPU memory of one model: constants, states, live scalars and activation slots, within a byte
// budget.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/plan.h"
#include "webgpu/device.h"

namespace etwebgpu {

class ModelMemory {
 public:
  // `limit` bounds the model's bytes on the GPU; 0 = as much as the device gives.
  ModelMemory(std::shared_ptr<Device> device, std::uint64_t limit)
      : device_(std::move(device)), limit_(limit) {}

  // A buffer that counts towards the limit. `what` names it in errors.
  Result<Buffer> make(std::string_view what, std::uint64_t bytes, WGPUBufferUsage usage);
  Result<void> add_constant(std::string_view what, std::uint64_t bytes);
  Result<void> add_state(std::string_view what, std::uint64_t bytes);
  Result<void> make_scalars(std::size_t count);

  // Makes every slot at least as large as asked. A slot that grows is a new buffer: generation()
  // then changes, and bind groups made before are stale.
  Result<void> fit_slots(std::span<const std::uint64_t> sizes);
  std::uint64_t generation() const { return generation_; }

  // The buffer of a (space, index) pair; every space but Uniforms.
  const Buffer& at(Space space, std::uint32_t index) const;
  const Buffer& constant(std::size_t index) const { return constants_[index]; }
  const Buffer& state(std::size_t index) const { return states_[index]; }
  const Buffer& scalars() const { return scalars_; }

  // Gives a buffer's bytes back to the budget; call it when dropping one from make().
  void forget(const Buffer& buffer) { used_ -= buffer.bytes(); }
  std::uint64_t used_bytes() const { return used_; }

 private:
  std::uint64_t grown_size(std::uint64_t old_bytes, std::uint64_t needed) const;

  std::shared_ptr<Device> device_;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::vector<Buffer> constants_;
  std::vector<Buffer> states_;
  std::vector<Buffer> slots_;
  Buffer scalars_;
  std::uint64_t generation_ = 0;
};

}  // namespace etwebgpu
