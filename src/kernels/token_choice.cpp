#include "kernels/token_choice.h"

#include <algorithm>
#include <bit>

#include "base/text.h"

namespace etwebgpu {
namespace {

std::uint32_t workgroup(std::uint32_t most_invocations) {
  return std::bit_floor(std::min<std::uint32_t>(most_invocations, 1024));
}

}  // namespace

KernelVariant greedy_token(std::int64_t first, std::int64_t count, std::uint32_t most_invocations) {
  const int width = first % 4 == 0 && count % 4 == 0 ? 4 : 1;
  KernelVariant kernel{"greedy_token", {}};
  kernel.parameters = {{"WIDTH", cat(width)},
                       {"LOADS", "12"},
                       {"FIRST", cat(first)},
                       {"COUNT", cat(count)},
                       {"WG", cat(workgroup(most_invocations))}};
  kernel.buffers = {"logits", "token"};
  return kernel;
}

KernelVariant sample_token(std::int64_t first, std::int64_t count, std::uint32_t most_invocations) {
  using Type = ParamMember::Type;
  const std::uint32_t lanes = workgroup(most_invocations);
  KernelVariant kernel{"sample_token", {}};
  kernel.parameters = {{"FIRST", cat(first)},
                       {"COUNT", cat(count)},
                       {"WG", cat(lanes)},
                       {"FOLD", cat(std::min(lanes, 16u))}};
  kernel.buffers = {"logits", "seen", "token"};
  kernel.params = {{.name = "temperature", .type = Type::F32}, {.name = "top_k"},
                   {.name = "top_p", .type = Type::F32},       {.name = "min_p", .type = Type::F32},
                   {.name = "penalty", .type = Type::F32},     {.name = "seed"}};
  return kernel;
}

}  // namespace etwebgpu
