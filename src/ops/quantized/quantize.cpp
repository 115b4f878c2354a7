// Quantization of activations while a program runs.
//
//   torchao.choose_qparams_affine.default(x, mapping, block, dtype (ignored), lowest, highest,
//   eps?,
//                                         scale dtype, zero point dtype (ignored), keepdim)
//       -> (scales, zero points) of the blocks of x: here of the rows over its last dimensions
#include <limits>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

enum { kX, kMapping, kBlock, kDtype, kLowest, kHighest, kEps, kScaleDtype, kZeroDtype, kKeepdim };

// How many leading dimensions of x a block does not span; it spans all others entirely.
Result<std::size_t> row_dims(const CallContext& c) {
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

Result<void> infer_choose_qparams(InferContext& c) {
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 2 && is_floating(c.dtype(kX)), ErrorKind::InvalidProgram,
                "scales and zero points of ", name(c.dtype(kX)), " in ", outputs.size(),
                " outputs");
  CHECK_OR_FAIL(c.text(kMapping) == "ASYMMETRIC" || c.text(kMapping) == "SYMMETRIC",
                ErrorKind::NotSupported, "the mapping ", c.text(kMapping));
  CHECK_OR_FAIL(c.integer(kLowest) < c.integer(kHighest), ErrorKind::InvalidProgram, "the range [",
                c.integer(kLowest), ", ", c.integer(kHighest), "] of quantized values");
  TRY_ASSIGN(const std::size_t lead, row_dims(c));
  const Dims& x = c.sizes(kX);
  Dims out;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    CHECK_OR_FAIL(d < lead || x[d] > 0, ErrorKind::InvalidArgument,
                  "there is no range of values over dimension ", d, " of sizes ", to_string(x));
    if (d < lead) out.push_back(x[d]);
    if (d >= lead && c.boolean(kKeepdim)) out.push_back(1);
  }
  TRY(c.set_sizes(outputs[0], out));
  return c.set_sizes(outputs[1], out);
}

Result<void> lower_choose_qparams(LowerContext& c) {
  const Dims& x = c.sizes(kX);
  if (x.numel() == 0) return {};
  TRY_ASSIGN(const std::size_t lead, row_dims(c));
  const std::int64_t rows = x.product(0, lead), n = x.product(lead, x.rank());
  const double lowest = baked_number(c, kLowest).value, highest = baked_number(c, kHighest).value;
  const double least_scale =
      c.is_none(kEps) ? std::numeric_limits<float>::min() : baked_number(c, kEps).value;
  const auto outputs = c.value_list(c.output_arg());
  KernelCall& k = c.emit(rows_route(c, "choose_qparams", rows, n));
  k.define("SYMMETRIC", c.text(kMapping) == "SYMMETRIC" ? 1 : 0);
  k.read("x", c.value(kX));
  k.write("scales", c.value_of(outputs[0])).write("zero_points", c.value_of(outputs[1]));
  k.params({{"rows", rows},
            {"n", n},
            {"lowest", lowest},
            {"highest", highest},
            {"least_scale", least_scale}});
  return {};
}

constexpr Op kOps[] = {
    {"torchao.choose_qparams_affine.default", "t s l _ i i f? _ _ i > v", infer_choose_qparams,
     lower_choose_qparams},
};

}  // namespace

std::span<const Op> quantize_ops() { return kOps; }

}  // namespace etwebgpu
