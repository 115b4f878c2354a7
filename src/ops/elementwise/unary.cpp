// Operators of one tensor, element by element: a table of WGSL expressions over elementwise.wgsl.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "ops/elementwise/activation.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/fused.h"

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
  bool internal = false;          // made by passes
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
    {.name = times_sigmoid::kName,
     .floats = "a * sigmoid(a)",
     .library = "sigmoid",
     .internal = true},
};

const Unary* find_unary(std::string_view name) {
  const auto* const found = std::ranges::find(kUnary, name, &Unary::name);
  return found == std::end(kUnary) ? nullptr : found;
}

std::string_view expression_for(const Unary& unary, DType dtype) {
  if (is_floating(dtype)) return unary.floats;
  return dtype == DType::Bool && !unary.bools.empty() ? unary.bools : unary.ints;
}

DType output_dtype(const CallContext& c) { return c.graph().tensor(c.output_id())->dtype; }

Result<void> infer_same(InferContext& c) { return c.set_output(c.sizes(0)); }

Result<void> infer_unary(InferContext& c) {
  const Unary& unary = *find_unary(c.call().name);
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
  const Unary& unary = *find_unary(c.call().name);
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

std::string_view gelu_expression(std::string_view approximate) {
  return approximate == "tanh" ? "gelu_tanh(a)" : "gelu(a)";
}

Result<void> infer_gelu(InferContext& c) {
  const std::string_view approximate = c.text(1);
  CHECK_OR_FAIL(approximate.empty() || approximate == "none" || approximate == "tanh",
                ErrorKind::NotSupported, "approximation '", approximate, "' is unknown");
  return infer_same(c);
}

Result<void> lower_gelu(LowerContext& c) {
  emit_unary(c, {.expression = gelu_expression(c.text(1)), .library = "gelu"}, Element::F32);
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
  for (const Unary& row : kUnary) {
    *next = wide_op(row.name, row.takes_number ? "t f > t" : "t > t", infer_unary, lower_unary);
    next++->internal = row.internal;
  }
  return ops;
}();

// --- As functions of other kernels' results ---

// A number of the file, or null.
std::optional<double> fixed_number(const Graph& graph, ValueId v) {
  if (v == kNoValue) return std::nullopt;
  const Value& value = graph.value(v);
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  const auto* number = std::get_if<double>(&value);
  return number ? std::optional(*number) : std::nullopt;
}
bool is_given(const Graph& graph, ValueId v) { return v != kNoValue && !graph.is_none(v); }

constexpr double kMostFloat = std::numeric_limits<float>::max();

// A clamp's. What all floats are within is no bound; what they are beyond is none of ours.
std::optional<Activation> find_clamp(const Graph& graph, ValueId least, ValueId most) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto number = [&](ValueId v, double none) {
    return is_given(graph, v) ? fixed_number(graph, v) : std::optional(none);
  };
  const std::optional<double> low = number(least, -kInfinity), high = number(most, kInfinity);
  const bool fits = low && high && *low <= kMostFloat && *high >= -kMostFloat;  // not NaN either
  if (!fits) return std::nullopt;
  const auto bound = [](double v) {
    return std::abs(v) <= kMostFloat ? std::optional(static_cast<float>(v)) : std::nullopt;
  };
  return bounding(bound(*low), bound(*high));
}

}  // namespace

std::optional<Activation> find_activation(const Graph& graph, std::string_view op, ValueId first,
                                          ValueId second) {
  if (op == "aten.clamp.default" || op == "aten.hardtanh.default")
    return find_clamp(graph, first, second);
  if (op == "aten.gelu.default") {
    const auto* approximate =
        first == kNoValue ? nullptr : std::get_if<std::string>(&graph.value(first));
    const bool known =
        approximate ? *approximate == "none" || *approximate == "tanh" : !is_given(graph, first);
    if (!known) return std::nullopt;
    return Activation{gelu_expression(approximate ? *approximate : ""), "gelu"};
  }
  const Unary* unary = find_unary(op);
  if (!unary || unary->floats.empty() || unary->to_bool) return std::nullopt;
  Activation out{unary->floats, unary->library};
  if (unary->takes_number) {
    const std::optional<double> number = fixed_number(graph, first);
    if (!number || !(std::abs(*number) <= kMostFloat)) return std::nullopt;
    out.x = static_cast<float>(*number);
  }
  return out;
}

std::optional<Activation> bounding(std::optional<float> lowest, std::optional<float> highest) {
  if (lowest && highest) return Activation{"clamped(a, x, y)", "minmax", *lowest, *highest};
  if (lowest) return Activation{"nan_max(a, x)", "minmax", *lowest};
  if (highest) return Activation{"nan_min(a, x)", "minmax", *highest};
  return std::nullopt;
}

void apply(KernelCall& k, const Activation& activation) {
  k.define("ACTIVATION", activation.expression);
  use_library(k, activation);
  k.params({{"activation_x", activation.x}, {"activation_y", activation.y}});
}

void use_library(KernelCall& k, const Activation& activation) {
  const auto is_given = [](const auto& parameter) { return parameter.first == "LIB"; };
  if (!activation.library.empty() && std::ranges::none_of(k.kernel.parameters, is_given))
    k.define("LIB", activation.library);
}

std::span<const Op> unary_ops() { return kOps; }

}  // namespace etwebgpu
