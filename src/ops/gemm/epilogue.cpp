#include "ops/gemm/epilogue.h"

#include "ops/fused.h"

namespace etwebgpu {
namespace {

std::size_t at(const CallContext& c, std::size_t from_end) { return c.arg_count() - from_end; }

}  // namespace

Result<void> check_epilogue(const CallContext& c) {
  const std::size_t residual = at(c, epilogue::kResidual);
  if (c.is_none(residual)) return {};
  const Dims &added = c.sizes(residual), &to = c.sizes_of(c.output_id());
  CHECK_OR_FAIL(added == to, ErrorKind::InvalidArgument, "a residual of sizes ", to_string(added),
                " is added to ", to_string(to));
  return {};
}

std::optional<Activation> activation_of(const CallContext& c) {
  return activation_at(c, at(c, epilogue::kActivation));
}

std::optional<Activation> activation_at(const CallContext& c, std::size_t arg) {
  if (c.is_none(arg)) return std::nullopt;
  return find_activation(c.graph(), c.text(arg), c.id(arg + 1), c.id(arg + 2));
}

Epilogue epilogue_of(const LowerContext& c) {
  const std::size_t residual = at(c, epilogue::kResidual);
  Epilogue out{.activation = activation_of(c)};
  if (!c.is_none(residual)) out.residual = c.value(residual);
  return out;
}

}  // namespace etwebgpu
