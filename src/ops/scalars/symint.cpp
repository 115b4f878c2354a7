// Live scalars: sizes, positions and arithmetic on them. Nothing here is dispatched.
#include <limits>

#include "ops/families.h"
#include "ops/op.h"

namespace etwebgpu {
namespace {

// --- Python operators on integers, by operator.__name__ ---

using Scalar = std::int64_t;

Result<Scalar> in_range(bool overflows, Scalar value, const char* what) {
  CHECK_OR_FAIL(!overflows, ErrorKind::InvalidArgument, "the ", what, " does not fit 64 bits");
  return value;
}

Result<Scalar> add(Scalar a, Scalar b) {
  Scalar out = 0;
  const bool overflows = __builtin_add_overflow(a, b, &out);
  return in_range(overflows, out, "sum");
}

Result<Scalar> sub(Scalar a, Scalar b) {
  Scalar out = 0;
  const bool overflows = __builtin_sub_overflow(a, b, &out);
  return in_range(overflows, out, "difference");
}

Result<Scalar> mul(Scalar a, Scalar b) {
  Scalar out = 0;
  const bool overflows = __builtin_mul_overflow(a, b, &out);
  return in_range(overflows, out, "product");
}

Result<Scalar> floordiv(Scalar a, Scalar b) {
  CHECK_OR_FAIL(b != 0, ErrorKind::InvalidArgument, a, " // 0 has no value");
  CHECK_OR_FAIL(b != -1 || a != std::numeric_limits<Scalar>::min(), ErrorKind::InvalidArgument,
                "the quotient does not fit 64 bits");
  const Scalar quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Result<Scalar> mod(Scalar a, Scalar b) {
  CHECK_OR_FAIL(b != 0, ErrorKind::InvalidArgument, a, " % 0 has no value");
  if (b == -1) return 0;
  const Scalar remainder = a % b;
  return remainder + (remainder != 0 && (remainder < 0) != (b < 0) ? b : 0);
}

Result<Scalar> eq(Scalar a, Scalar b) { return a == b; }
Result<Scalar> ne(Scalar a, Scalar b) { return a != b; }
Result<Scalar> lt(Scalar a, Scalar b) { return a < b; }
Result<Scalar> le(Scalar a, Scalar b) { return a <= b; }
Result<Scalar> gt(Scalar a, Scalar b) { return a > b; }
Result<Scalar> ge(Scalar a, Scalar b) { return a >= b; }

// At load the operands stand for values not known yet, so no combination of them is an error.
template <Result<Scalar> (*apply)(Scalar, Scalar)>
Result<void> infer_arithmetic(InferContext& c) {
  Result<Scalar> value = apply(c.integer(0), c.integer(1));
  if (!value && c.at_load()) value = 0;
  TRY(value);
  c.set_scalar(c.output_id(), *value);
  return {};
}

template <Result<Scalar> (*apply)(Scalar, Scalar)>
constexpr Op arithmetic(std::string_view name) {
  return {name, "i i > y", infer_arithmetic<apply>};
}

// --- Scalars of tensors ---

Result<void> infer_sym_size(InferContext& c) {
  const Dims& sizes = c.sizes(0);
  CHECK_OR_FAIL(sizes.rank() > 0, ErrorKind::InvalidProgram, "a tensor of rank 0 has no sizes");
  TRY_ASSIGN(const std::size_t d, c.dim(1, sizes.rank()));
  c.set_scalar(c.output_id(), sizes[d]);
  return {};
}

// The one element of x.select(dim, index), read on the host.
Result<void> infer_select_as_symint(InferContext& c) {
  if (c.at_load()) {
    c.set_scalar(c.output_id(), 0);
    return {};
  }
  const Dims& sizes = c.sizes(0);
  TRY_ASSIGN(const std::size_t d, c.dim(1, sizes.rank()));
  const Scalar extent = sizes.rank() == 0 ? 1 : sizes[d];
  const Scalar given = c.integer(2);
  const Scalar index = given < 0 ? given + extent : given;
  CHECK_OR_FAIL(index >= 0 && index < extent, ErrorKind::InvalidArgument, "index ", given,
                " is outside dimension ", d, " of sizes ", to_string(sizes));
  CHECK_OR_FAIL(sizes.numel() == extent, ErrorKind::NotSupported, "a tensor of sizes ",
                to_string(sizes), " has more than one element at index ", given);
  const auto elements = c.host_elements(0);
  CHECK_OR_FAIL(static_cast<std::size_t>(index) < elements.size(), ErrorKind::Internal,
                "the elements of value ", c.id(0), " are not at hand on the host");
  c.set_scalar(c.output_id(), elements[static_cast<std::size_t>(index)]);
  return {};
}

// --- Checks that the exporter wrote down ---

Result<void> infer_assert(InferContext& c) {
  CHECK_OR_FAIL(c.at_load() || c.boolean(0), ErrorKind::InvalidArgument,
                "the program's own check failed: ", c.arg_count() > 1 ? c.text(1) : "");
  return {};
}

Result<void> infer_constrain_range(InferContext& c) {
  if (c.at_load()) return {};
  const Scalar value = c.integer(0);
  const Scalar least = c.integer_or(1, std::numeric_limits<Scalar>::min());
  const Scalar most = c.integer_or(2, std::numeric_limits<Scalar>::max());
  CHECK_OR_FAIL(value >= least && value <= most, ErrorKind::InvalidArgument, "the scalar ", value,
                " is outside [", least, ", ", most, "], to which the program was exported");
  return {};
}

constexpr Op kOps[] = {
    {"_assert_scalar.default", "i [_ _] >", infer_assert},
    arithmetic<add>("add"),
    arithmetic<eq>("eq"),
    {.name = "et_vk.select_as_symint.default",
     .signature = "t i i > y",
     .infer = infer_select_as_symint,
     .reads_host = true},
    arithmetic<floordiv>("floordiv"),
    arithmetic<ge>("ge"),
    arithmetic<gt>("gt"),
    arithmetic<le>("le"),
    arithmetic<lt>("lt"),
    arithmetic<mod>("mod"),
    arithmetic<mul>("mul"),
    arithmetic<ne>("ne"),
    arithmetic<sub>("sub"),
    {"sym_constrain_range.default", "i [i? i? _] >", infer_constrain_range},
    {"sym_constrain_range_for_size.default", "i [i? i? _] >", infer_constrain_range},
    {"sym_size.int", "t i > y", infer_sym_size},
};

}  // namespace

std::span<const Op> symint_ops() { return kOps; }

}  // namespace etwebgpu
