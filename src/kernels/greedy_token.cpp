#include "kernels/greedy_token.h"

#include <algorithm>
#include <bit>

#include "base/text.h"

namespace etwebgpu {

KernelVariant greedy_token(std::int64_t first, std::int64_t count, std::uint32_t most_invocations) {
  const int width = first % 4 == 0 && count % 4 == 0 ? 4 : 1;
  KernelVariant kernel{"greedy_token", {}};
  kernel.parameters = {
      {"WIDTH", cat(width)},
      {"LOADS", "12"},
      {"FIRST", cat(first)},
      {"COUNT", cat(count)},
      {"WG", cat(std::bit_floor(std::min<std::uint32_t>(most_invocations, 1024)))}};
  kernel.buffers = {"logits", "token"};
  return kernel;
}

}  // namespace etwebgpu
