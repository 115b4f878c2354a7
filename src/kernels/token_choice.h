// The kernels that choose the next token, for executors that decode with tokens kept on the GPU.
// Each is one workgroup of at most `most_invocations`, for `count` logits from element `first` on.
#pragma once

#include <cstdint>

#include "base/kernel_variant.h"

namespace etwebgpu {

// The likeliest. Buffers: the logits, read, and a word for the token, written.
KernelVariant greedy_token(std::int64_t first, std::int64_t count, std::uint32_t most_invocations);

// Drawn as SamplingParams say. Buffers: the logits, read; a bit for each token that has been seen,
// and three words, both written: the token, 0, and its place in the text, which is one more after
// each. Equal seeds draw the same at the same place.
KernelVariant sample_token(std::int64_t first, std::int64_t count, std::uint32_t most_invocations);

// Its params' uniform.
struct SamplingParams {
  float temperature = 0;  // 0 takes the likeliest
  std::uint32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float penalty = 1;  // above 1, seen tokens are less likely
  std::uint32_t seed = 0;
  std::uint32_t unused[2] = {};  // uniforms are multiples of 16 bytes
};

}  // namespace etwebgpu
