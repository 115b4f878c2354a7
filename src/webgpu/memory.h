// The GPU memory of one model: constants, states, live scalars and activation slots, within a byte
// budget.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ops/packing.h"
#include "plan/plan.h"
#include "webgpu/device.h"

namespace etwebgpu {

// The memory of a state: kept between calls, and by every model of a program that uses it.
struct StateBuffer {
  Buffer buffer;
  Packing packing = Packing::Words;
};

struct NamedSize {
  std::string name;  // in errors
  std::uint64_t bytes = 0;
};

class ModelMemory {
 public:
  // `limit` bounds the model's bytes on the GPU; 0 = as much as the device gives.
  ModelMemory(std::shared_ptr<Device> device, std::uint64_t limit)
      : device_(std::move(device)), limit_(limit) {}

  // A buffer that counts towards the limit. `what` names it in errors.
  Result<Buffer> make(std::string_view what, std::uint64_t bytes, WGPUBufferUsage usage);
  // All constants, in order. They share buffers: what a dispatch costs the host follows the number
  // of buffers behind its bindings.
  Result<void> add_constants(std::span<const NamedSize> constants);
  // The next state, in memory of its own or in what another model has made for it.
  Result<void> add_state(std::string_view what, std::uint64_t bytes, Packing packing);
  Result<void> add_state(std::string_view what, std::uint64_t bytes, Packing packing,
                         std::shared_ptr<StateBuffer> made);
  const std::shared_ptr<StateBuffer>& state(std::size_t index) const { return states_[index]; }
  Result<void> make_scalars(std::size_t count);

  // Makes every slot at least as large as asked. A slot that grows is a new buffer: generation()
  // then changes, and bind groups made before are stale.
  Result<void> fit_slots(std::span<const std::uint64_t> sizes);
  std::uint64_t generation() const { return generation_; }

  // The place of a (space, index) pair; every space but Uniforms.
  BufferRange at(Space space, std::uint32_t index) const;
  const Buffer& scalars() const { return scalars_; }

  // Gives a buffer's bytes back to the budget; call it when dropping one from make().
  void forget(const Buffer& buffer) { used_ -= buffer.bytes(); }
  std::uint64_t used_bytes() const { return used_; }

 private:
  Result<std::uint64_t> place_pool(std::span<const NamedSize> constants);
  std::uint64_t grown_size(std::uint64_t old_bytes, std::uint64_t needed) const;

  std::shared_ptr<Device> device_;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::vector<Buffer> pools_;  // hold the constants
  std::vector<BufferRange> constants_;
  std::vector<std::shared_ptr<StateBuffer>> states_;
  std::vector<Buffer> slots_;
  Buffer scalars_;
  std::uint64_t generation_ = 0;
};

}  // namespace etwebgpu
