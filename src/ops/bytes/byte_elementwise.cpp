// Elementwise work over 8-bit activations: dequantized, computed and quantized again, by
// elementwise.wgsl.
//
//   et_vk.q8ta_add.default(a, b, a's scale, zero point, b's scale, zero point, output scale,
//                          zero point, alpha)
//   et_vk.q8ta_relu.default(x, scale, zero point, output scale, zero point)
//   et_vk.q8ta_pixel_shuffle.default(x, scale, zero point, 1 / output scale, zero point, factor)
#include <cmath>
#include <vector>

#include "ops/bytes/bytes.h"
#include "ops/families.h"
#include "ops/movement/pixel_shuffle.h"

namespace etwebgpu {
namespace {

struct Form {
  std::string_view name, signature;
  std::string_view expression;  // of requantization.wgsl
  std::size_t inputs = 1;       // tensors, then a scale and a zero point for each
  bool inverse = false;         // the output's scale is 1 / what is given
  std::size_t alpha = 0, factor = 0;
};

constexpr Form kForms[] = {
    {.name = "et_vk.q8ta_add.default",
     .signature = "t t f i f i f i f > t",
     .expression = "requantized(dequantized_sum(a, b))",
     .inputs = 2,
     .alpha = 8},
    {.name = "et_vk.q8ta_pixel_shuffle.default",
     .signature = "t f i f i i > t",
     .expression = "requantized(dequantized_a(a))",
     .inverse = true,
     .factor = 5},
    {.name = "et_vk.q8ta_relu.default",
     .signature = "t f i f i > t",
     .expression = "requantized(max(dequantized_a(a), 0.0))"},
};

// Of a call of one of them.
const Form& form_of(const CallContext& c) {
  const Form* form = std::begin(kForms);
  while (form + 1 != std::end(kForms) && form->name != c.call().name) ++form;
  return *form;
}

Result<Quantization> input_quantization(const CallContext& c, const Form& form, std::size_t i) {
  return read_quantization(c, form.inputs + 2 * i, form.inputs + 2 * i + 1, i == 0 ? "a" : "b");
}

Result<Quantization> output_quantization(const CallContext& c, const Form& form) {
  const std::size_t scale = 3 * form.inputs;
  TRY_ASSIGN(Quantization q, read_quantization(c, scale, scale + 1, "the output"));
  if (form.inverse) q.scale = 1.0 / q.scale;
  return q;
}

Result<void> infer(InferContext& c) {
  const Form& form = form_of(c);
  TRY(check_bytes(c, c.output_arg(), "the output"));
  TRY(output_quantization(c, form));
  Dims sizes = c.sizes(0);
  for (std::size_t i = 0; i < form.inputs; ++i) {
    TRY(check_bytes(c, i, i == 0 ? "a" : "b"));
    TRY(input_quantization(c, form, i));
    TRY_ASSIGN(sizes, broadcast(sizes, c.sizes(i)));
  }
  CHECK_OR_FAIL(
      form.alpha == 0 || (!c.is_symint(form.alpha) && std::isfinite(c.number(form.alpha))),
      ErrorKind::NotSupported, "an alpha that is not a finite number");
  if (form.factor > 0) {
    TRY_ASSIGN(sizes, shuffled_sizes(sizes, c.integer(form.factor)));
  }
  return c.set_output(sizes);
}

// By their names in requantization.wgsl.
Result<std::vector<Param>> numbers(const CallContext& c, const Form& form) {
  constexpr Literal kScales[] = {"a_scale", "b_scale"};
  constexpr Literal kZeroPoints[] = {"a_zero_point", "b_zero_point"};
  std::vector<Param> out;
  for (std::size_t i = 0; i < form.inputs; ++i) {
    TRY_ASSIGN(const Quantization q, input_quantization(c, form, i));
    out.emplace_back(kScales[i], q.scale);
    out.emplace_back(kZeroPoints[i], static_cast<double>(q.zero_point));
  }
  TRY_ASSIGN(const Quantization q, output_quantization(c, form));
  out.emplace_back(Literal("inverse_scale"), 1.0 / q.scale);
  out.emplace_back(Literal("out_zero_point"), static_cast<double>(q.zero_point));
  if (form.alpha > 0) out.emplace_back(Literal("alpha"), c.number(form.alpha));
  return out;
}

Result<void> lower(LowerContext& c) {
  const Form& form = form_of(c);
  if (c.sizes(c.output_arg()).numel() == 0) return {};
  TRY_ASSIGN(const std::vector<Param> params, numbers(c, form));
  const Elementwise what{
      .expression = form.expression, .library = "requantization", .params = params};
  std::vector<Operand> operands;
  std::vector<Dims> sizes;
  for (std::size_t i = 0; i < form.inputs; ++i) {
    operands.push_back(operand(c, i, Element::F32));
    sizes.push_back(c.sizes(i));
  }
  if (form.factor == 0) {
    emit_broadcast(c, what, operands, sizes);
  } else {
    const Loops loops = shuffle_loops(sizes[0], c.bake(c.id(form.factor)));
    emit_elementwise(c, what, operands, loops, output_elements(c));
  }
  return {};
}

constexpr auto kOps = byte_ops(kForms, infer, lower);

}  // namespace

std::span<const Op> byte_elementwise_ops() { return kOps; }

}  // namespace etwebgpu
