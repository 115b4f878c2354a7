// Operators of one tensor, element by element: a table of WGSL expressions over elementwise.wgsl.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/elementwise/elementwise.h"
#include "ops/families.h"

namespace etwebgpu {
namespace {

struct Unary {
  std::string_view name;
  std::string_view floats;        // expression in a; x is the number argument
  std::string_view ints = {};     // the same for integers; empty = not defined
  std::string_view library = {};  // of the float expression
  std::string_view bools = {};    // for bool, where it differs from ints
  bool to_bool = false;           // the output is bool whatever the input
  bool takes_number = false;      // x, after the tensor
};

// Comparisons are written so that NaN passes through.
constexpr Unary kUnary[] = {
    {"aten.abs.default", "abs(a)", "abs(a)"},
    {"aten.bitwise_not.default", "", "~a", "", "1 - a"},
    {"aten.cos.default", "exact_cos(a)", "", "trigonometry"},
    {"aten.exp.default", "exact_exp(a)", "", "exponential"},
    {.name = "aten.hardshrink.default",
     .floats = "select(a, 0.0, abs(a) <= x)",
     .takes_number = true},
    {"aten.hardswish.default", "a * min(max(a + 3.0, 0.0), 6.0) / 6.0"},
    {.name = "aten.leaky_relu.default",
     .floats = "select(a * x, a, a > 0.0)",
     .takes_number = true},
    {"aten.log10.default", "exact_log10(a)", "", "exponential"},
    {"aten.logical_not.default", "i32(!bool(a))", "i32(!bool(a))", "", "", true},
    {"aten.neg.default", "-a", "-a"},
    {"aten.relu.default", "select(a, 0.0, is_negative(a))", "max(a, 0)", "minmax"},
    {"aten.round.default", "round(a)", "a"},
    {"aten.rsqrt.default", "inverseSqrt(a)"},
    {"aten.sigmoid.default", "sigmoid(a)", "", "sigmoid"},
    {"aten.silu.default", "quotient(a, 1.0 + exp(-a))", "", "division"},
    {"aten.sin.default", "exact_sin(a)", "", "trigonometry"},
    {"aten.sqrt.default", "sqrt(a)"},
    {"aten.tanh.default", "stable_tanh(a)", "", "tanh"},
};

const Unary& find_unary(std::string_view name) {
  for (const Unary& unary : kUnary) {
    if (unary.name == name) return unary;
  }
  return kUnary[0];  // unreachable: kOps is made of kUnary
}

std::string_view expression_for(const Unary& unary, DType dtype) {
  if (is_floating(dtype)) return unary.floats;
  return dtype == DType::Bool && !unary.bools.empty() ? unary.bools : unary.ints;
}

DType output_dtype(const CallContext& c) { return c.graph().tensor(c.output_id())->dtype; }

Result<void> infer_same(InferContext& c) { return c.set_output(c.sizes(0)); }

Result<void> infer_unary(InferContext& c) {
  const Unary& unary = find_unary(c.call().name);
  const DType in = c.dtype(0), out = output_dtype(c);
  const bool fits = unary.to_bool ? out == DType::Bool : is_floating(in) == is_floating(out);
  CHECK_OR_FAIL(fits && !expression_for(unary, in).empty(), ErrorKind::NotSupported,
                "there is no form from ", name(in), " to ", name(out));
  return infer_same(c);
}

void emit_unary(LowerContext& c, const Elementwise& what, Element as) {
  const Operand a = operand(c, 0, as);
  const Loops loops{{c.sizes(0).numel(), {1, 0, 0}}};
  emit_elementwise(c, what, {&a, 1}, loops, output_elements(c));
}

Result<void> lower_unary(LowerContext& c) {
  const Unary& unary = find_unary(c.call().name);
  const Element in = stored_element(c, 0);
  Elementwise what{.expression = expression_for(unary, c.dtype(0)),
                   .library = in == Element::F32 ? unary.library : std::string_view(),
                   .out = unary.to_bool ? Element::I32 : in,
                   .x_type = in};
  if (unary.takes_number) what.x = baked_number(c, 1);
  emit_unary(c, what, in);
  return {};
}

// --- gelu ---

Result<void> infer_gelu(InferContext& c) {
  const std::string_view approximate = c.text(1);
  CHECK_OR_FAIL(approximate.empty() || approximate == "none" || approximate == "tanh",
                ErrorKind::NotSupported, "approximation '", approximate, "' is unknown");
  return infer_same(c);
}

Result<void> lower_gelu(LowerContext& c) {
  emit_unary(c, {.expression = c.text(1) == "tanh" ? "gelu_tanh(a)" : "gelu(a)", .library = "gelu"},
             Element::F32);
  return {};
}

// --- clamp, hardtanh: bounds may be None; a float bound makes an integer tensor float; everything
// clamped to NaN is NaN ---

Result<void> lower_clamp(LowerContext& c) {
  const Element out = output_element(c);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool is_float = out == Element::F32;
  Elementwise what{.expression = is_float ? "clamped(a, x, y)" : "min(max(a, x), y)",
                   .library = is_float ? "minmax" : "",
                   .out = out,
                   .x_type = out,
                   .x = c.is_none(1) ? Number(-kInfinity) : baked_number(c, 1),
                   .y = c.is_none(2) ? Number(kInfinity) : baked_number(c, 2)};
  if (is_float && (std::isnan(what.x.value) || std::isnan(what.y.value))) what.expression = "x + y";
  emit_unary(c, what, out);
  return {};
}

constexpr Op kWithOwnLowering[] = {
    wide_op("aten.clamp.default", "t f? f? > t", infer_same, lower_clamp),
    {"aten.gelu.default", "t [s?] > t", infer_gelu, lower_gelu},
    wide_op("aten.hardtanh.default", "t f f > t", infer_same, lower_clamp),
};

// Each row of kUnary is an operator; expressions in x take a number.
constexpr auto kOps = [] {
  std::array<Op, std::size(kUnary) + std::size(kWithOwnLowering)> ops{};
  auto next = std::ranges::copy(kWithOwnLowering, ops.begin()).out;
  for (const Unary& row : kUnary)
    *next++ = wide_op(row.name, row.takes_number ? "t f > t" : "t > t", infer_unary, lower_unary);
  return ops;
}();

}  // namespace

std::span<const Op> unary_ops() { return kOps; }

}  // namespace etwebgpu
