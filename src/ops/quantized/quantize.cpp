// Scales and zero points of activations, chosen while a program runs from the ranges of rows: what
// one of them spans.
//
//   torchao.choose_qparams_affine.default(x, mapping, block, dtype (ignored), lowest, highest,
//   eps?,
//                                         scale dtype, zero point dtype (ignored), keepdim)
//   quantized_decomposed.choose_qparams.tensor(x, lowest, highest, eps, dtype (ignored))
//   quantized_decomposed.choose_qparams_per_token_asymmetric.default(x, dtype (ignored))
//       -> (scales, zero points) of blocks over the last dimensions, of all of x, of its rows
#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/quantized/choose_qparams.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

enum { kX, kMapping, kBlock, kDtype, kLowest, kHighest, kEps, kScaleDtype, kZeroDtype, kKeepdim };

struct Form {
  enum class Rows : std::uint8_t { Blocks, All, Last };
  std::string_view name, signature;
  Rows rows;
  // Arguments; without them, those of int8.
  std::optional<std::size_t> lowest, highest, eps;
  double least_scale;  // where eps is not given
};

constexpr Form kForms[] = {
    {"quantized_decomposed.choose_qparams.tensor", "t i i f _ > v", Form::Rows::All, 1, 2, 3, 0},
    {"quantized_decomposed.choose_qparams_per_token_asymmetric.default", "t _ > v",
     Form::Rows::Last, std::nullopt, std::nullopt, std::nullopt,
     std::numeric_limits<float>::epsilon()},
    {"torchao.choose_qparams_affine.default", "t s l _ i i f? _ _ i > v", Form::Rows::Blocks,
     kLowest, kHighest, kEps, std::numeric_limits<float>::min()},
};

// Of a call of one of them.
const Form& form_of(const CallContext& c) {
  const Form* form = std::begin(kForms);
  while (form + 1 != std::end(kForms) && form->name != c.call().name) ++form;
  return *form;
}

// How many leading dimensions of x a block does not span; it spans all others entirely.
Result<std::size_t> block_lead(const CallContext& c) {
  const Dims& x = c.sizes(kX);
  const auto block = c.int_list(kBlock);
  CHECK_OR_FAIL(block.size() == x.rank(), ErrorKind::InvalidProgram, "blocks of ", list_text(block),
                " do not divide sizes ", to_string(x));
  std::size_t lead = 0;
  while (lead < x.rank() && block[lead] == 1) ++lead;
  for (std::size_t d = lead; d < x.rank(); ++d) {
    CHECK_OR_FAIL(block[d] == x[d], ErrorKind::NotSupported, "blocks of ", list_text(block),
                  " are not rows of sizes ", to_string(x));
  }
  return lead;
}

// The same of a row.
Result<std::size_t> row_lead(const CallContext& c, const Form& form) {
  if (form.rows == Form::Rows::Blocks) return block_lead(c);
  if (form.rows == Form::Rows::All) return 0;
  const std::size_t rank = c.sizes(kX).rank();
  CHECK_OR_FAIL(rank > 0, ErrorKind::InvalidProgram, "x has no dimension for rows");
  return rank - 1;
}

// A scale for each row.
Dims output_sizes(const CallContext& c, const Form& form, std::size_t lead) {
  const Dims& x = c.sizes(kX);
  if (form.rows == Form::Rows::All) return {1};
  const bool keeps = form.rows == Form::Rows::Last || c.boolean(kKeepdim);
  Dims out;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    if (d < lead || keeps) out.push_back(d < lead ? x[d] : 1);
  }
  return out;
}

// What the kernel calls the choice of a zero point.
std::string_view mapping(const CallContext& c, const Form& form) {
  if (form.rows == Form::Rows::All) return "asymmetric";
  if (form.rows == Form::Rows::Last) return "lesser_error";
  return c.text(kMapping) == "SYMMETRIC" ? "symmetric" : "asymmetric";
}

Result<void> check_arguments(const CallContext& c, const Form& form) {
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 2 && is_floating(c.dtype(kX)), ErrorKind::InvalidProgram,
                "scales and zero points of ", name(c.dtype(kX)), " in ", outputs.size(),
                " outputs");
  if (form.rows == Form::Rows::Blocks) {
    CHECK_OR_FAIL(c.text(kMapping) == "ASYMMETRIC" || c.text(kMapping) == "SYMMETRIC",
                  ErrorKind::NotSupported, "the mapping ", c.text(kMapping));
  }
  CHECK_OR_FAIL(!form.lowest || c.integer(*form.lowest) < c.integer(*form.highest),
                ErrorKind::InvalidProgram, "the range [", c.integer(*form.lowest), ", ",
                c.integer(*form.highest), "] of quantized values");
  return {};
}

Result<void> infer_choose_qparams(InferContext& c) {
  const Form& form = form_of(c);
  TRY(check_arguments(c, form));
  TRY_ASSIGN(const std::size_t lead, row_lead(c, form));
  const Dims& x = c.sizes(kX);
  for (std::size_t d = lead; d < x.rank(); ++d) {
    CHECK_OR_FAIL(x[d] > 0, ErrorKind::InvalidArgument,
                  "there is no range of values over dimension ", d, " of sizes ", to_string(x));
  }
  const auto outputs = c.value_list(c.output_arg());
  const Dims out = output_sizes(c, form, lead);
  TRY(c.set_sizes(outputs[0], out));
  return c.set_sizes(outputs[1], out);
}

struct Choice {
  BufferRef x, scales, zero_points;
  std::string_view mapping = "asymmetric";
  std::int64_t rows = 0, n = 0;
  double lowest = -128, highest = 127;
  double least_scale = std::numeric_limits<float>::epsilon();
};

void emit_choose_qparams(LowerContext& c, const Choice& choice) {
  KernelCall& k = c.emit(rows_route(c, "choose_qparams", choice.rows, choice.n));
  k.define("MAPPING", choice.mapping).read("x", choice.x);
  k.write("scales", choice.scales).write("zero_points", choice.zero_points);
  k.params({{"rows", choice.rows},
            {"n", choice.n},
            {"lowest", choice.lowest},
            {"highest", choice.highest},
            {"least_scale", choice.least_scale}});
}

double number_or(LowerContext& c, std::optional<std::size_t> arg, double fallback) {
  return arg && !c.is_none(*arg) ? baked_number(c, *arg).value : fallback;
}

Result<void> lower_choose_qparams(LowerContext& c) {
  const Form& form = form_of(c);
  const Dims& x = c.sizes(kX);
  if (x.numel() == 0) return {};
  TRY_ASSIGN(const std::size_t lead, row_lead(c, form));
  const std::int64_t rows = x.product(0, lead), n = x.product(lead, x.rank());
  const double lowest = number_or(c, form.lowest, -128);
  const double highest = number_or(c, form.highest, 127);
  const double least_scale = number_or(c, form.eps, form.least_scale);
  const auto outputs = c.value_list(c.output_arg());
  emit_choose_qparams(c, {.x = c.value(kX),
                          .scales = c.value_of(outputs[0]),
                          .zero_points = c.value_of(outputs[1]),
                          .mapping = mapping(c, form),
                          .rows = rows,
                          .n = n,
                          .lowest = lowest,
                          .highest = highest,
                          .least_scale = least_scale});
  return {};
}

constexpr auto kOps = [] {
  std::array<Op, std::size(kForms)> ops{};
  for (std::size_t i = 0; i < ops.size(); ++i)
    ops[i] = {kForms[i].name, kForms[i].signature, infer_choose_qparams, lower_choose_qparams};
  return ops;
}();

}  // namespace

void emit_choose_int8_rows(LowerContext& c, BufferRef x, std::int64_t rows, std::int64_t n,
                           BufferRef scales, BufferRef zero_points) {
  emit_choose_qparams(c,
                      {.x = x, .scales = scales, .zero_points = zero_points, .rows = rows, .n = n});
}

std::span<const Op> quantize_ops() { return kOps; }

}  // namespace etwebgpu
