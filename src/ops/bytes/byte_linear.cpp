// Linear layers over 8-bit activations:
//
//   et_vk.q8ta_linear[_gemv].default(x i8 [.., K], scale, zero point, weight i8 [N, K],
//                                    its rows' sums (ignored), scales [N], output scale,
//                                    output zero point, bias [N] or None, activation)
//       -> i8 [.., N]
//
// Scales and bias may be padded. The form for one row is the same operator.
#include "ops/bytes/bytes.h"
#include "ops/families.h"
#include "ops/linear/linear.h"

namespace etwebgpu {
namespace {

enum { kX, kXScale, kXZero, kWeight, kSums, kScales, kOutScale, kOutZero, kBias, kActivation };

constexpr ByteResults kResults{kXScale, kXZero, kScales, kOutScale, kOutZero, kBias, kActivation};

Result<void> infer(InferContext& c) {
  const Dims& x = c.sizes(kX);
  CHECK_OR_FAIL(x.rank() >= 1, ErrorKind::InvalidProgram, "x has no rows");
  const std::int64_t n = output_width(c, c.output_id());
  TRY(check_results(c, kResults, n, n, x.back()));
  TRY(check_byte_matrix(c, kWeight, n, x.back()));
  TRY_ASSIGN(const Dims sizes, linear_sizes(x, c.bound(c.output_arg()).rank(), n));
  return c.set_output(sizes);
}

Result<void> lower(LowerContext& c) {
  const Dims& x = c.sizes(kX);
  const std::int64_t rows = linear_rows(x), n = output_width(c, c.output_id());
  if (rows * n == 0) return {};
  return lower_byte_product(c,
                            {.x = plain_byte_rows(byte_input(c, kX), rows, x.back()),
                             .rows = rows,
                             .depth = x.back(),
                             .columns = n,
                             .weight = kWeight},
                            kResults);
}

constexpr Op linear(std::string_view name) {
  return {.name = name,
          .signature = "t f i t t t f i t? s > t",
          .infer = infer,
          .lower = lower,
          .takes = {.bytes = kAllArgs}};
}

constexpr Op kOps[] = {
    linear("et_vk.q8ta_linear.default"),
    linear("et_vk.q8ta_linear_gemv.default"),
};

}  // namespace

std::span<const Op> byte_linear_ops() { return kOps; }

}  // namespace etwebgpu
