// What a training step needs beside the products of linear layers (ops/linear): its loss, its
// optimizer, and weights back into 4 bits.
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

Result<void> check_floats(const CallContext& c, std::size_t arg, std::string_view what) {
  CHECK_OR_FAIL(is_floating(c.dtype(arg)), ErrorKind::NotSupported, what, " of type ",
                name(c.dtype(arg)));
  return {};
}

// --- et_vk.fused_ce(logits [M, V], labels [M], n) -> (loss [], d_logits [M, V]): the cross
// entropies' sum over n, and its gradient; rows of a negative label do not count ---

namespace ce {
enum { kLogits, kLabels, kValid };
}  // namespace ce

Result<void> infer_cross_entropy(InferContext& c) {
  const Dims &logits = c.sizes(ce::kLogits), &labels = c.sizes(ce::kLabels);
  TRY(check_floats(c, ce::kLogits, "logits"));
  CHECK_OR_FAIL(!is_floating(c.dtype(ce::kLabels)), ErrorKind::NotSupported, "labels of type ",
                name(c.dtype(ce::kLabels)));
  CHECK_OR_FAIL(logits.rank() == 2 && labels.rank() == 1 && labels[0] == logits[0],
                ErrorKind::InvalidProgram, "labels of sizes ", to_string(labels),
                " do not fit logits of sizes ", to_string(logits));
  CHECK_OR_FAIL(logits[0] == 0 || logits[1] > 0, ErrorKind::InvalidArgument, "logits of sizes ",
                to_string(logits), " have no classes");
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 2, ErrorKind::InvalidProgram,
                "a loss and its gradient are 2 outputs, not ", outputs.size());
  TRY(c.set_sizes(outputs[0], Dims()));
  return c.set_sizes(outputs[1], logits);
}

Result<void> lower_cross_entropy(LowerContext& c) {
  const Dims& logits = c.sizes(ce::kLogits);
  const auto outputs = c.value_list(c.output_arg());
  const BufferRef loss = c.value_of(outputs[0]);
  if (logits[0] == 0) {
    const Operand zero = literal_operand(0.0, Element::F32);
    emit_elementwise(c, {.expression = "a"}, {&zero, 1}, {{1}}, {loss});
    return {};
  }
  const BufferRef losses = c.scratch(logits[0]);
  KernelCall& k = c.emit(rows_route(c, "cross_entropy", logits[0], logits[1]));
  k.define("LOG", 0).read("logits", c.value(ce::kLogits)).read("labels", c.value(ce::kLabels));
  k.write("losses", losses).write("gradient", c.value_of(outputs[1]));
  k.params(
      {{"rows", logits[0]}, {"n", logits[1]}, {"scale", 1.0 / baked_number(c, ce::kValid).value}});
  emit_sum(c, losses, logits[0], loss);
  return {};
}

// --- et_vk.adamw_step(parameter, m, v, gradient, rate, beta1, beta2, eps, decay, correction1,
// correction2) -> (parameter, m, v): written in place, and what stands for the outputs is that
// (passes/returned_arguments.cpp) ---

namespace adamw {
enum {
  kParameter,
  kMoment,
  kSquare,
  kGradient,
  kRate,
  kBeta1,
  kBeta2,
  kEps,
  kDecay,
  kCorrection1,
  kCorrection2,
};
constexpr std::array<std::string_view, 4> kNames = {"the parameter", "m", "v", "the gradient"};
}  // namespace adamw

Result<void> infer_adamw(InferContext& c) {
  const Dims& sizes = c.sizes(adamw::kParameter);
  for (std::size_t a = 0; a < adamw::kNames.size(); ++a) {
    TRY(check_floats(c, a, adamw::kNames[a]));
    CHECK_OR_FAIL(c.sizes(a) == sizes, ErrorKind::InvalidProgram, adamw::kNames[a], " of sizes ",
                  to_string(c.sizes(a)), " does not fit a parameter of ", to_string(sizes));
  }
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 3, ErrorKind::InvalidProgram,
                "a step of AdamW has 3 outputs, not ", outputs.size());
  for (const ValueId out : outputs) TRY(c.set_sizes(out, sizes));
  return {};
}

Result<void> check_apart(const LowerContext& c) {
  for (std::size_t a = 0; a < adamw::kGradient; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      CHECK_OR_FAIL(!c.shares_memory(c.id(a), c.id(b)), ErrorKind::NotSupported, adamw::kNames[b],
                    " and ", adamw::kNames[a], " share memory, and both are written");
    }
  }
  return {};
}

// The gradient, apart from what the step writes.
BufferRef gradient_apart(LowerContext& c) {
  for (std::size_t a = 0; a < adamw::kGradient; ++a) {
    if (!c.shares_memory(c.id(a), c.id(adamw::kGradient))) continue;
    const std::int64_t count = c.sizes(a).numel();
    const BufferRef out = c.scratch(count);
    emit_copy(c, elements_of(c, c.id(adamw::kGradient)), 0, {{count, {1, 0, 0}}}, {out});
    return out;
  }
  return c.value(adamw::kGradient);
}

Result<void> lower_adamw(LowerContext& c) {
  TRY(check_apart(c));
  const std::int64_t vectors = div_up<std::int64_t>(c.sizes(adamw::kParameter).numel(), 4);
  const BufferRef gradient = gradient_apart(c);
  std::array<double, adamw::kCorrection2 + 1> number{};
  for (std::size_t a = adamw::kRate; a < number.size(); ++a) number[a] = baked_number(c, a).value;
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& k = c.emit("adamw");
  k.define("WG", wg).write("weight", c.value(adamw::kParameter));
  k.write("moment", c.value(adamw::kMoment)).write("square", c.value(adamw::kSquare));
  k.read("gradient", gradient);
  k.params({{"count", vectors},
            {"rate", number[adamw::kRate]},
            {"beta1", number[adamw::kBeta1]},
            {"beta2", number[adamw::kBeta2]},
            {"gain1", 1.0 - number[adamw::kBeta1]},
            {"gain2", 1.0 - number[adamw::kBeta2]},
            {"eps", number[adamw::kEps]},
            {"keep", 1.0 - number[adamw::kRate] * number[adamw::kDecay]},
            {"unbias1", 1.0 / number[adamw::kCorrection1]},
            {"unbias2", 1.0 / number[adamw::kCorrection2]}});
  k.groups(div_up<std::int64_t>(vectors, wg));
  return {};
}

// --- et_vk.q4gsw_requant(weight [N, K], scales [K/G, N], G) -> u8 [N, K/2], as a 4-bit linear
// layer has it; the last group, and the last byte of a row, may be half empty ---

Result<void> infer_requantize(InferContext& c) {
  const Dims &weight = c.sizes(0), &scales = c.sizes(1);
  const std::int64_t group = c.integer(2);
  TRY(check_floats(c, 0, "a weight"));
  TRY(check_floats(c, 1, "scales"));
  CHECK_OR_FAIL(c.dtype(c.output_arg()) == DType::UInt8, ErrorKind::NotSupported,
                "packed weights of type ", name(c.dtype(c.output_arg())));
  CHECK_OR_FAIL(weight.rank() == 2, ErrorKind::InvalidProgram, "a weight of sizes ",
                to_string(weight), " is not a matrix");
  CHECK_OR_FAIL(group > 0, ErrorKind::InvalidProgram, "the group size ", group, " is not positive");
  CHECK_OR_FAIL(
      scales.rank() == 2 && scales[0] >= div_up(weight[1], group) && scales[1] == weight[0],
      ErrorKind::InvalidProgram, "scales of sizes ", to_string(scales),
      " do not fit a weight of sizes ", to_string(weight), " in groups of ", group);
  return c.set_output({weight[0], div_up<std::int64_t>(weight[1], 2)});
}

Result<void> lower_requantize(LowerContext& c) {
  const Dims &weight = c.sizes(0), &out = c.sizes(c.output_arg());
  const bool bytes = c.storage(c.output_arg()) == Storage::Bytes;
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& k = c.emit("requantize_q4");
  k.define("WG", wg).define("BYTES", bytes ? 1 : 0);
  k.read("weight", c.value(0)).read("scales", c.value(1)).write("out", c.output());
  k.params({{"count", out.numel()},
            {"width", out[1]},
            {"rows", weight[0]},
            {"k", weight[1]},
            {"group_size", std::min(c.integer(2), std::max<std::int64_t>(weight[1], 1))}});
  k.groups(div_up<std::int64_t>(bytes ? div_up<std::int64_t>(out.numel(), 4) : out.numel(), wg));
  return {};
}

constexpr Op adamw_op(std::string_view name) {
  return {.name = name,
          .signature = "t t t t f f f f f f f > v",
          .infer = infer_adamw,
          .lower = lower_adamw,
          .mutated_args = args({adamw::kParameter, adamw::kMoment, adamw::kSquare})};
}

constexpr Op kOps[] = {
    // Exporters that make a mutating operator functional write it without its namespace.
    adamw_op("adamw_step.default"),
    adamw_op("et_vk.adamw_step.default"),
    {"et_vk.fused_ce.default", "t t f > v", infer_cross_entropy, lower_cross_entropy},
    {.name = "et_vk.q4gsw_requant.default",
     .signature = "t t i > t",
     .infer = infer_requantize,
     .lower = lower_requantize,
     .takes = {.bytes = args({3})}},
};

}  // namespace

std::span<const Op> training_ops() { return kOps; }

}  // namespace etwebgpu
