// What fused products do to their results, from the last arguments of such a call (ops/fused.h).
#pragma once

#include <optional>

#include "ops/elementwise/activation.h"
#include "ops/op.h"

namespace etwebgpu {

struct Epilogue {
  std::optional<BufferRef> residual = {};  // of the output's sizes
  std::optional<Activation> activation = {};
};

// In `infer`, once the output has its sizes.
Result<void> check_epilogue(const CallContext& c);
Epilogue epilogue_of(const LowerContext& c);

// The activation alone.
std::optional<Activation> activation_of(const CallContext& c);

// One whose name, and what it takes after its tensor, are three arguments from `arg` on.
std::optional<Activation> activation_at(const CallContext& c, std::size_t arg);

}  // namespace etwebgpu
