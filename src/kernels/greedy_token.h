// The kernel that takes the likeliest token, for executors that decode with tokens kept on the GPU.
// Its buffers are the logits, read, and one word for the token, written.
#pragma once

#include <cstdint>

#include "base/kernel_variant.h"

namespace etwebgpu {

// For `count` logits from element `first` on, in one workgroup of at most `most_invocations`.
KernelVariant greedy_token(std::int64_t first, std::int64_t count, std::uint32_t most_invocations);

}  // namespace etwebgpu
