// aten.topk(x, k, dim, largest, sorted) -> (values, indices). Always sorted; of equal elements the
// first comes first, which eager leaves open.
#include "ops/families.h"
#include "ops/op.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

enum { kX, kCount, kDim, kLargest, kSorted };

Result<void> infer_topk(InferContext& c) {
  Dims out = c.sizes(kX);
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 2, ErrorKind::InvalidProgram,
                "values and indices are 2 outputs, not ", outputs.size());
  // Of integers in 64 bits there would have to be a form of its own.
  CHECK_OR_FAIL(is_floating(c.dtype(kX)), ErrorKind::NotSupported, "topk of ", name(c.dtype(kX)));
  TRY_ASSIGN(const std::size_t dim, c.dim(kDim, out.rank()));
  const std::int64_t k = c.integer(kCount), n = out.empty() ? 1 : out[dim];
  if (c.at_load() && c.is_symint(kCount)) {
    for (const ValueId v : outputs) TRY(c.set_sizes(v, c.graph().tensor(v)->bound));
    return {};
  }
  CHECK_OR_FAIL(k >= (out.empty() ? 1 : 0) && k <= n, ErrorKind::InvalidArgument, "there are no ",
                k, " among the ", n, " elements of dimension ", dim);
  if (!out.empty()) out[dim] = k;
  for (const ValueId v : outputs) TRY(c.set_sizes(v, out));
  return {};
}

Result<void> lower_topk(LowerContext& c) {
  const Dims& x = c.sizes(kX);
  const auto outputs = c.value_list(c.output_arg());
  TRY_ASSIGN(const std::size_t dim, c.dim(kDim, x.rank()));
  const std::int64_t n = x.empty() ? 1 : x[dim];
  const std::int64_t k = x.empty() ? c.bake(c.id(kCount)) : c.sizes_of(outputs[0])[dim];
  if (x.numel() == 0 || k == 0) return {};
  const std::int64_t inner = x.empty() ? 1 : x.product(dim + 1, x.rank());
  const std::int64_t rows = x.numel() / n;
  KernelCall& call = c.emit("topk");
  call.define("WG", row_lanes(c, n)).define("LARGEST", c.bake(c.id(kLargest)) != 0 ? 1 : 0);
  call.read("x", c.value(kX));
  call.write("values", c.value_of(outputs[0])).write("indices", c.value_of(outputs[1]));
  call.params({{"rows", rows}, {"n", n}, {"k", k}, {"inner", inner}});
  call.groups(rows);
  return {};
}

constexpr Op kOps[] = {{"aten.topk.default", "t i i i i > v", infer_topk, lower_topk}};

}  // namespace

std::span<const Op> topk_ops() { return kOps; }

}  // namespace etwebgpu
