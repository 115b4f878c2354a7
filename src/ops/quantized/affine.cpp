// Operators that quantize and dequantize activations. What they do to an element is an expression,
// and blocks are a walk over scales and zero points, so elementwise.wgsl is their kernel. Constants
// are dequantized before: passes/fold_dequantize.cpp.
//
// Each rounds as its reference does in torch.ao or torchao, in f32.
#include "ops/quantized/affine.h"

#include <algorithm>
#include <array>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"

namespace etwebgpu {
namespace {

using Blocks = AffineForm::Blocks;

// Behind the arguments come dtypes, which the tensors have.
#define FORM(NAME, SIGNATURE, ...) {"quantized_decomposed." NAME, SIGNATURE, __VA_ARGS__}
constexpr AffineForm kForms[] = {
    FORM("dequantize_per_channel.default", "t t t? i _ _ _ [_] > t", Blocks::Axis, false, 1, 2, 3),
    FORM("dequantize_per_tensor.default", "t f i _ _ _ [_] > t", Blocks::All, false),
    FORM("dequantize_per_tensor.tensor", "t t t _ _ _ [_] > t", Blocks::All, false),
    FORM("dequantize_per_token.default", "t t t _ _ _ [_] > t", Blocks::Rows, false),
    FORM("quantize_per_channel.default", "t t t i i i _ > t", Blocks::Axis, true, 1, 2, 3, 4, 5),
    FORM("quantize_per_tensor.default", "t f i i i _ > t", Blocks::All, true, 1, 2, 0, 3, 4),
    FORM("quantize_per_tensor.tensor", "t t t i i _ > t", Blocks::All, true, 1, 2, 0, 3, 4),
    FORM("quantize_per_token.default", "t t t i i _ > t", Blocks::Rows, true, 1, 2, 0, 3, 4),
    {"torchao.dequantize_affine.default", "t l t t? _ _ _ [_] > t", Blocks::Listed, false, 2, 3, 1},
    {"torchao.quantize_affine.default", "t l t t? _ f? f? > t", Blocks::Listed, true, 2, 3, 1, 5,
     6},
};
#undef FORM

const AffineForm& form_of(const CallContext& c) { return *find_affine_form(c.call().name); }

// The output's range, or a narrower one that the call gives.
struct Range {
  double lowest, highest;
};

Range dtype_range(DType dtype) {
  if (dtype == DType::UInt8) return {0, 255};
  if (dtype == DType::Int8) return {-128, 127};
  return {-2147483648.0, 2147483647.0};
}

Range range_of(const CallContext& c, const AffineForm& form) {
  const Range whole = dtype_range(c.dtype(c.output_arg()));
  return {c.number_or(form.lowest, whole.lowest), c.number_or(form.highest, whole.highest)};
}

// --- Sizes ---

Result<void> check_dtypes(const CallContext& c, const AffineForm& form) {
  const DType from = c.dtype(0), to = c.dtype(c.output_arg());
  const DType floats = form.quantizes ? from : to, integers = form.quantizes ? to : from;
  CHECK_OR_FAIL(is_floating(floats) && !is_floating(integers) && integers != DType::Bool,
                ErrorKind::NotSupported, "quantization from ", name(from), " to ", name(to));
  return {};
}

// A number, None, or a tensor with an element for each block.
Result<void> check_parameter(const CallContext& c, std::size_t arg, std::string_view what,
                             std::int64_t blocks) {
  if (!c.is_tensor(arg)) return {};
  CHECK_OR_FAIL(c.sizes(arg).numel() == blocks, ErrorKind::InvalidProgram, what, " of sizes ",
                to_string(c.sizes(arg)), " do not fit the ", blocks, " blocks of x ",
                to_string(c.sizes(0)));
  CHECK_OR_FAIL(c.dtype(arg) != DType::Bool, ErrorKind::NotSupported, what, " of type bool");
  return {};
}

Result<void> check_range(const CallContext& c, const AffineForm& form) {
  if (!form.quantizes) return {};
  const Range range = range_of(c, form), whole = dtype_range(c.dtype(c.output_arg()));
  CHECK_OR_FAIL(whole.lowest <= range.lowest && range.lowest <= range.highest &&
                    range.highest <= whole.highest,
                ErrorKind::InvalidProgram, "the range [", Number(range.lowest).whole, ", ",
                Number(range.highest).whole, "] of quantized values is not one of ",
                name(c.dtype(c.output_arg())));
  CHECK_OR_FAIL(c.is_tensor(form.scale) || c.number(form.scale) != 0, ErrorKind::InvalidProgram,
                "the scale is 0");
  return {};
}

Result<void> infer_affine(InferContext& c) {
  const AffineForm& form = form_of(c);
  TRY(check_dtypes(c, form));
  TRY(check_range(c, form));
  TRY_ASSIGN(const Dims blocks, affine_blocks(c, form));
  if (c.sizes(0).numel() > 0) {
    const std::int64_t count = block_counts(c.sizes(0), blocks).numel();
    TRY(check_parameter(c, form.scale, "scales", count));
    TRY(check_parameter(c, form.zero_point, "zero points", count));
  }
  return c.set_output(c.sizes(0));
}

// --- Kernels ---

// Over x; operands b and c have an element for each block.
Loops block_loops(const Dims& sizes, const Dims& blocks) {
  const Dims strides = contiguous_strides(sizes);
  const Dims steps = contiguous_strides(block_counts(sizes, blocks));
  Loops loops;
  for (std::size_t d = 0; d < sizes.rank(); ++d) {
    loops.push_back({sizes[d] / blocks[d], {strides[d] * blocks[d], steps[d], steps[d]}});
    loops.push_back({blocks[d], {strides[d], 0, 0}});
  }
  return loops;
}

// In a: x, b: the scale, or what it divides by where that is known, c: the zero point.
std::string_view expression(const LowerContext& c, const AffineForm& form, Element zero_point) {
  if (!form.quantizes) return zero_point == Element::I32 ? "f32(a - c) * b" : "(a - c) * b";
  if (form.kind == Blocks::Rows) return "clamp(round(apart(a * reciprocal(b)) + c), x, y)";
  return c.is_tensor(form.scale) ? "clamp(round(a * reciprocal(b)) + c, x, y)"
                                 : "clamp(round(a * b) + c, x, y)";
}

// Some references subtract zero points as integers, which is the same below 2^24.
Element zero_point_element(const LowerContext& c, const AffineForm& form) {
  const bool as_integers = form.kind == Blocks::Axis || form.kind == Blocks::Rows;
  const bool integers = c.is_tensor(form.zero_point) && !is_floating(c.dtype(form.zero_point));
  return as_integers && integers && !form.quantizes ? Element::I32 : Element::F32;
}

Operand scale_operand(LowerContext& c, const AffineForm& form) {
  if (c.is_tensor(form.scale)) return operand(c, form.scale, Element::F32);
  const double scale = baked_number(c, form.scale).value;
  return literal_operand(form.quantizes ? 1.0 / scale : scale, Element::F32);
}

Result<void> lower_affine(LowerContext& c) {
  const AffineForm& form = form_of(c);
  const Dims& sizes = c.sizes(0);
  if (sizes.numel() == 0) return {};
  TRY_ASSIGN(const Dims blocks, affine_blocks(c, form));
  const Element zero_point = zero_point_element(c, form);
  const std::array operands{operand(c, 0, zero_point), scale_operand(c, form),
                            c.is_none(form.zero_point) ? literal_operand(0.0, zero_point)
                                                       : operand(c, form.zero_point, zero_point)};
  Elementwise what{.expression = expression(c, form, zero_point)};
  if (form.quantizes) {
    const Range range = range_of(c, form);
    what.library = "quantization";
    what.x = range.lowest;
    what.y = range.highest;
  }
  emit_elementwise(c, what, operands, block_loops(sizes, blocks), output_elements(c));
  return {};
}

constexpr auto kOps = byte_ops(kForms, infer_affine, lower_affine);

// The block along one dimension of x.
Result<std::int64_t> listed_block(std::int64_t size, std::int64_t block) {
  if (block <= 0 || block == size) return std::max<std::int64_t>(size, 1);
  CHECK_OR_FAIL(size % block == 0, ErrorKind::InvalidProgram, "blocks of ", block,
                " do not divide a dimension of ", size);
  return block;
}

}  // namespace

const AffineForm* find_affine_form(std::string_view name) {
  const auto* form = std::ranges::find(kForms, name, &AffineForm::name);
  return form == std::end(kForms) ? nullptr : form;
}

Result<Dims> affine_blocks(const CallContext& c, const AffineForm& form) {
  const Dims& x = c.sizes(0);
  Dims blocks = x;
  for (std::size_t d = 0; d < x.rank(); ++d) blocks[d] = std::max<std::int64_t>(x[d], 1);
  if (form.kind == Blocks::Axis) {
    CHECK_OR_FAIL(x.rank() > 0, ErrorKind::InvalidProgram, "x has no dimension for channels");
    TRY_ASSIGN(const std::size_t axis, c.dim(form.blocks, x.rank()));
    blocks[axis] = 1;
  } else if (form.kind == Blocks::Rows) {
    CHECK_OR_FAIL(x.rank() > 0, ErrorKind::InvalidProgram, "x has no dimension for rows");
    for (std::size_t d = 0; d + 1 < x.rank(); ++d) blocks[d] = 1;
  } else if (form.kind == Blocks::Listed) {
    const auto list = c.int_list(form.blocks);
    CHECK_OR_FAIL(list.size() == x.rank(), ErrorKind::InvalidProgram, "blocks of ", list_text(list),
                  " do not divide sizes ", to_string(x));
    for (std::size_t d = 0; d < x.rank(); ++d) {
      TRY_ASSIGN(blocks[d], listed_block(x[d], list[d]));
    }
  }
  return blocks;
}

Dims block_counts(const Dims& sizes, const Dims& blocks) {
  Dims counts = sizes;
  for (std::size_t d = 0; d < sizes.rank(); ++d) counts[d] = sizes[d] / blocks[d];
  return counts;
}

std::span<const Op> affine_ops() { return kOps; }

}  // namespace etwebgpu
