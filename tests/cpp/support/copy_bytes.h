// "test.copy_bytes(x) -> x": an operator that takes 8-bit elements as bytes, and words.
#pragma once

#include "ops/op.h"

namespace etwebgpu::testing {

inline Result<void> infer_copied(InferContext& c) { return c.set_output(c.sizes(0)); }

inline Result<void> lower_copied(LowerContext& c) {
  constexpr std::int64_t kWorkgroup = 64;
  const std::uint64_t bytes = storage_bytes(c.storage(0), c.sizes(0).numel());
  const auto words = static_cast<std::int64_t>(bytes / kWord);
  KernelCall& call = c.emit("move");
  call.define("WG", kWorkgroup).read("src", c.value(0)).write("dst", c.output());
  call.param("count", words).groups(div_up(words, kWorkgroup));
  return {};
}

inline constexpr Op kCopyBytes{.name = "test.copy_bytes",
                               .signature = "t > t",
                               .infer = infer_copied,
                               .lower = lower_copied,
                               .takes = {.bytes = kAllArgs}};

}  // namespace etwebgpu::testing
