// Operators of two tensors or a tensor and a number, with broadcasting on live sizes, and where:
// tables of WGSL expressions over elementwise.wgsl.
#include <array>
#include <cmath>
#include <utility>

#include "ops/elementwise/elementwise.h"
#include "ops/families.h"

namespace etwebgpu {
namespace {

enum class Domain : std::uint8_t {
  Output,   // computed in the output's type: arithmetic
  Operands  // computed in the operands' common type, the result is bool: comparisons
};

struct Binary {
  std::string_view name;
  Domain domain;
  std::string_view floats;        // expression in a, b
  std::string_view ints;          // empty = not defined
  std::string_view library = {};  // of the float expression
  std::string_view int_library = {};
};

// Not equal is written so that it holds for NaN.
constexpr Binary kBinary[] = {
    {"aten.add.Tensor", Domain::Output, "a + b", "a + b"},
    {"aten.bitwise_and.Tensor", Domain::Output, "", "a & b"},
    {"aten.bitwise_or.Tensor", Domain::Output, "", "a | b"},
    {"aten.div.Tensor", Domain::Output, "quotient(a, b)", "", "division"},
    {"aten.eq.Scalar", Domain::Operands, "i32(a == b)", "i32(a == b)"},
    {"aten.eq.Tensor", Domain::Operands, "i32(a == b)", "i32(a == b)"},
    {"aten.ge.Scalar", Domain::Operands, "i32(a >= b)", "i32(a >= b)"},
    {"aten.ge.Tensor", Domain::Operands, "i32(a >= b)", "i32(a >= b)"},
    {"aten.gt.Scalar", Domain::Operands, "i32(a > b)", "i32(a > b)"},
    {"aten.gt.Tensor", Domain::Operands, "i32(a > b)", "i32(a > b)"},
    {"aten.le.Scalar", Domain::Operands, "i32(a <= b)", "i32(a <= b)"},
    {"aten.le.Tensor", Domain::Operands, "i32(a <= b)", "i32(a <= b)"},
    {"aten.logical_and.default", Domain::Operands, "i32(bool(a) && bool(b))",
     "i32(bool(a) && bool(b))"},
    {"aten.logical_or.default", Domain::Operands, "i32(bool(a) || bool(b))",
     "i32(bool(a) || bool(b))"},
    {"aten.lt.Scalar", Domain::Operands, "i32(a < b)", "i32(a < b)"},
    {"aten.lt.Tensor", Domain::Operands, "i32(a < b)", "i32(a < b)"},
    {"aten.maximum.default", Domain::Output, "nan_max(a, b)", "max(a, b)", "minmax"},
    {"aten.minimum.default", Domain::Output, "nan_min(a, b)", "min(a, b)", "minmax"},
    {"aten.mul.Tensor", Domain::Output, "a * b", "a * b"},
    {"aten.ne.Scalar", Domain::Operands, "i32(!(a == b))", "i32(a != b)"},
    {"aten.ne.Tensor", Domain::Operands, "i32(!(a == b))", "i32(a != b)"},
    {"aten.pow.Tensor_Scalar", Domain::Output, "float_power(a, b)", "integer_power(a, b)", "power",
     "power"},
    {"aten.pow.Tensor_Tensor", Domain::Output, "float_power(a, b)", "integer_power(a, b)", "power",
     "power"},
    {"aten.sub.Tensor", Domain::Output, "a - b", "a - b"},
    {"et_vk.swiglu.default", Domain::Output, "a * sigmoid(a) * b", "", "sigmoid"},
};

// By rounding mode.
constexpr Binary kDivModes[] = {
    {"", Domain::Output, "quotient(a, b)", "", "division"},
    {"floor", Domain::Output, "floor_divide(a, b)", "floor_divide_int(a, b)", "division",
     "division"},
    {"trunc", Domain::Output, "trunc_divide(a, b)", "a / b", "division"},
};

// pow by these exponents is cheaper and more exact, and has the edge values of these operations in
// PyTorch too: the root of -inf is NaN. 1 / (a * a) would be infinite where only a * a is no float.
struct Power {
  double exponent;
  std::string_view expression;
};
constexpr Power kPowers[] = {{-2, "(1.0 / a) * (1.0 / a)"},
                             {-1, "1.0 / a"},
                             {-0.5, "inverseSqrt(a)"},
                             {0.5, "sqrt(a)"},
                             {1, "a"},
                             {2, "a * a"},
                             {3, "a * a * a"},
                             {4, "(a * a) * (a * a)"}};

const Binary* find_binary(std::span<const Binary> table, std::string_view name) {
  for (const Binary& binary : table) {
    if (binary.name == name) return &binary;
  }
  return nullptr;
}

const Binary* binary_of(const CallContext& c) {
  if (c.call().name == "aten.div.Tensor_mode") return find_binary(kDivModes, c.text(2));
  return find_binary(kBinary, c.call().name);
}

DType output_dtype(const CallContext& c) { return c.graph().tensor(c.output_id())->dtype; }

// An integer number computes as one if it fits 64 bits.
bool is_integer(const CallContext& c, std::size_t arg) {
  if (c.is_tensor(arg)) return !is_floating(c.dtype(arg));
  if (c.is_symint(arg)) return true;
  constexpr double kEdge = 9223372036854775808.0;  // 2^63
  const double value = c.number(arg);
  return value == std::trunc(value) && value >= -kEdge && value < kEdge;
}

bool computes_floats(const CallContext& c, const Binary& binary) {
  if (binary.domain == Domain::Output) return is_floating(output_dtype(c));
  return !is_integer(c, 0) || !is_integer(c, 1);
}

// An integer argument's own type: where one has 64 bits, all are computed so.
Element integer_element(const LowerContext& c, std::size_t arg) {
  if (c.is_tensor(arg)) return is_floating(c.dtype(arg)) ? Element::I32 : stored_element(c, arg);
  const bool fits = c.is_symint(arg) || std::in_range<std::int32_t>(number_argument(c, arg).whole);
  return fits ? Element::I32 : Element::I64;
}

Element computed_in(const LowerContext& c, const Binary& binary) {
  if (computes_floats(c, binary)) return Element::F32;
  const bool wide_output = binary.domain == Domain::Output && output_element(c) == Element::I64;
  const bool wide =
      wide_output || integer_element(c, 0) == Element::I64 || integer_element(c, 1) == Element::I64;
  return wide ? Element::I64 : Element::I32;
}

Dims sizes_or_scalar(const CallContext& c, std::size_t arg) {
  return c.is_tensor(arg) ? c.sizes(arg) : Dims();
}

Result<void> infer_binary(InferContext& c) {
  const Binary* binary = binary_of(c);
  CHECK_OR_FAIL(binary != nullptr, ErrorKind::NotSupported, "rounding mode '", c.text(2),
                "' is unknown");
  const DType out = output_dtype(c);
  const bool defined = !(computes_floats(c, *binary) ? binary->floats : binary->ints).empty();
  CHECK_OR_FAIL(defined && (binary->domain == Domain::Output || out == DType::Bool),
                ErrorKind::NotSupported, "there is no form with a ", name(out), " output");
  TRY_ASSIGN(const Dims sizes, broadcast(sizes_or_scalar(c, 0), sizes_or_scalar(c, 1)));
  return c.set_output(sizes);
}

void emit_binary(LowerContext& c, const Elementwise& what, Element as) {
  const std::array operands{operand(c, 0, as), operand(c, 1, as)};
  const std::array sizes{sizes_or_scalar(c, 0), sizes_or_scalar(c, 1)};
  emit_broadcast(c, what, operands, sizes);
}

Elementwise form_of(const LowerContext& c, const Binary& binary) {
  const Element as = computed_in(c, binary);
  const bool is_float = as == Element::F32;
  return {.expression = is_float ? binary.floats : binary.ints,
          .library = is_float ? binary.library : binary.int_library,
          .out = binary.domain == Domain::Output ? as : Element::I32,
          .x_type = as};
}

Result<void> lower_binary(LowerContext& c) {
  const Binary& binary = *binary_of(c);
  emit_binary(c, form_of(c, binary), computed_in(c, binary));
  return {};
}

// a + alpha * b and a - alpha * b.
Result<void> lower_add(LowerContext& c) {
  const Binary& binary = *binary_of(c);
  Elementwise what = form_of(c, binary);
  what.x = c.arg_count() > 3 ? baked_number(c, 2) : Number(1.0);
  if (what.x.value != 1)
    what.expression = binary.name == "aten.add.Tensor" ? "a + x * b" : "a - x * b";
  emit_binary(c, what, what.x_type);
  return {};
}

Result<void> lower_pow_scalar(LowerContext& c) {
  if (!c.is_symint(1) && is_floating(output_dtype(c))) {
    for (const Power& power : kPowers) {
      if (power.exponent != c.number(1)) continue;
      const Operand a = operand(c, 0, Element::F32);
      const Dims& sizes = c.sizes(0);
      emit_broadcast(c, {.expression = power.expression}, {&a, 1}, {&sizes, 1});
      return {};
    }
  }
  return lower_binary(c);
}

// --- where: condition, a, b ---

Result<void> infer_where(InferContext& c) {
  TRY_ASSIGN(const Dims both, broadcast(sizes_or_scalar(c, 1), sizes_or_scalar(c, 2)));
  TRY_ASSIGN(const Dims sizes, broadcast(c.sizes(0), both));
  return c.set_output(sizes);
}

Result<void> lower_where(LowerContext& c) {
  const Element as = output_element(c);
  const std::array operands{operand(c, 0, Element::I32), operand(c, 1, as), operand(c, 2, as)};
  const std::array sizes{c.sizes(0), sizes_or_scalar(c, 1), sizes_or_scalar(c, 2)};
  emit_broadcast(c, {.expression = "select(c, b, bool(a))", .out = as, .x_type = as}, operands,
                 sizes);
  return {};
}

constexpr Op binary(std::string_view name, std::string_view signature,
                    Result<void> (*lower)(LowerContext&)) {
  return {.name = name,
          .signature = signature,
          .infer = infer_binary,
          .lower = lower,
          .takes = {.i64 = kAllArgs}};
}
constexpr Op plain(std::string_view name) { return binary(name, "n n > t", lower_binary); }
constexpr Op with_alpha(std::string_view name) { return binary(name, "n n [f] > t", lower_add); }

constexpr Op kOps[] = {
    with_alpha("aten.add.Tensor"),
    plain("aten.bitwise_and.Tensor"),
    plain("aten.bitwise_or.Tensor"),
    plain("aten.div.Tensor"),
    binary("aten.div.Tensor_mode", "n n s? > t", lower_binary),
    plain("aten.eq.Scalar"),
    plain("aten.eq.Tensor"),
    plain("aten.ge.Scalar"),
    plain("aten.ge.Tensor"),
    plain("aten.gt.Scalar"),
    plain("aten.gt.Tensor"),
    plain("aten.le.Scalar"),
    plain("aten.le.Tensor"),
    plain("aten.logical_and.default"),
    plain("aten.logical_or.default"),
    plain("aten.lt.Scalar"),
    plain("aten.lt.Tensor"),
    plain("aten.maximum.default"),
    plain("aten.minimum.default"),
    plain("aten.mul.Tensor"),
    plain("aten.ne.Scalar"),
    plain("aten.ne.Tensor"),
    binary("aten.pow.Tensor_Scalar", "t f > t", lower_pow_scalar),
    plain("aten.pow.Tensor_Tensor"),
    with_alpha("aten.sub.Tensor"),
    {.name = "aten.where.self",
     .signature = "t n n > t",
     .infer = infer_where,
     .lower = lower_where,
     .takes = {.i64 = kAllArgs}},
    {"et_vk.swiglu.default", "t t > t", infer_binary, lower_binary},
};

}  // namespace

std::span<const Op> binary_ops() { return kOps; }

}  // namespace etwebgpu
