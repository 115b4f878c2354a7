// Operators that make a tensor of numbers.
#include <array>
#include <cmath>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"

namespace etwebgpu {
namespace {

DType output_dtype(const CallContext& c) { return c.graph().tensor(c.output_id())->dtype; }

Result<void> infer_listed(InferContext& c) {
  if (c.at_load() && holds_symint(c, 0)) return c.set_output(bound_of(c, c.output_id()));
  const auto sizes = c.int_list(0);
  TRY(check_sizes(c, sizes, false));
  return c.set_output(Dims(sizes));
}

Result<void> infer_like(InferContext& c) { return c.set_output(c.sizes(0)); }

Result<void> infer_scalar(InferContext& c) { return c.set_output(Dims()); }

// The number that fills: a SymInt is bound live.
Operand fill_operand(const LowerContext& c, std::size_t arg) {
  const DType dtype = output_dtype(c);
  const Element out = output_element(c);
  if (c.is_symint(arg) && dtype != DType::Bool) return operand(c, arg, out);
  return literal_operand(stored_number(number_argument(c, arg), dtype), out);
}

template <std::size_t arg>
Result<void> lower_fill(LowerContext& c) {
  if (c.is_symint(arg) && output_dtype(c) == DType::Bool) c.bake(c.id(arg));
  emit_fill(c, fill_operand(c, arg));
  return {};
}

template <int value>
Result<void> lower_constant(LowerContext& c) {
  emit_fill(c, Number(std::int64_t{value}));
  return {};
}

// --- arange(start, end, step) ---

Result<void> infer_arange(InferContext& c) {
  if (c.at_load() && (c.is_symint(0) || c.is_symint(1) || c.is_symint(2))) {
    return c.set_output(bound_of(c, c.output_id()));
  }
  const double start = c.number(0), end = c.number(1), step = c.number_or(2, 1);
  const double count = std::ceil((end - start) / step);
  const Dims& bound = bound_of(c, c.output_id());
  CHECK_OR_FAIL(
      step != 0 && bound.rank() == 1 && count >= 0 && count <= static_cast<double>(bound[0]),
      ErrorKind::InvalidArgument, "the range from ", start, " to ", end, " by ", step,
      " does not fit the recorded sizes ", to_string(bound));
  return c.set_output(Dims{static_cast<std::int64_t>(count)});
}

// A start that is a position is bound live: the plan does not depend on it.
Result<void> lower_arange(LowerContext& c) {
  const Element out = output_element(c);
  const Operand step = c.is_none(2) ? literal_operand(1.0, out) : operand(c, 2, out);
  const std::array operands{operand(c, 0, out), step};
  const Loops loops{{c.sizes_of(c.output_id()).numel()}};
  emit_elementwise(c,
                   {.expression = out == Element::F32 ? "a + f32(i) * b" : "a + i32(i) * b",
                    .out = out,
                    .x_type = out},
                   operands, loops, output_elements(c));
  return {};
}

constexpr Op kOps[] = {
    wide_op("aten.arange.start_step", "f f f? [_ _ _ _] > t", infer_arange, lower_arange),
    wide_op("aten.full.default", "l f [_ _ _ _] > t", infer_listed, lower_fill<1>),
    wide_op("aten.full_like.default", "t f [_ _ _ _ _] > t", infer_like, lower_fill<1>),
    wide_op("aten.ones.default", "l [_ _ _ _] > t", infer_listed, lower_constant<1>),
    wide_op("aten.ones_like.default", "t [_ _ _ _ _] > t", infer_like, lower_constant<1>),
    wide_op("aten.scalar_tensor.default", "f [_ _ _ _] > t", infer_scalar, lower_fill<0>),
    wide_op("aten.zeros.default", "l [_ _ _ _] > t", infer_listed, lower_constant<0>),
    wide_op("aten.zeros_like.default", "t [_ _ _ _ _] > t", infer_like, lower_constant<0>),
};

}  // namespace

std::span<const Op> fill_ops() { return kOps; }

}  // namespace etwebgpu
