// Activation memory: which tensors share which buffer.
#pragma once

#include <cstdint>
#include <vector>

namespace etwebgpu {

// A buffer needed from dispatch `first` to dispatch `last`, both included.
struct Lifetime {
  std::uint64_t bytes = 0;
  std::int32_t first = 0;
  std::int32_t last = 0;
};

struct SlotPlan {
  std::vector<std::uint32_t> slot_of;  // by lifetime
  std::vector<std::uint64_t> slots;    // bytes of each
};

// Gives every lifetime a slot of its own for that time. Whole buffers are shared, never ranges:
// WebGPU refuses one buffer bound for reading and writing in a dispatch, whatever the ranges.
// Greedy by size, as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
// Inference" (2020).
SlotPlan assign_slots(const std::vector<Lifetime>& lifetimes);

}  // namespace etwebgpu
