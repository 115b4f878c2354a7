// aten._softmax and aten._log_softmax(x, dim, half_to_float) -> out: any dimension, any rank.
#include "ops/families.h"
#include "ops/op.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

Result<void> infer_softmax(InferContext& c) {
  TRY(c.dim(1, c.sizes(0).rank()));
  CHECK_OR_FAIL(is_floating(c.dtype(0)), ErrorKind::NotSupported, "softmax of ", name(c.dtype(0)));
  return c.set_output(c.sizes(0));
}

struct SoftmaxRoute : Route {
  bool strided = false;  // the elements of a row may lie apart
};

// Where rows are short or plenty, an invocation each keeps the device as busy without barriers.
SoftmaxRoute softmax_route(const LowerContext& c, std::int64_t rows, std::int64_t n,
                           std::int64_t inner) {
  const bool many = c.is_software() && rows >= 16;
  if (inner == 1 && n > 16 && !many) return {rows_route(c, "softmax_rows", rows, n)};
  const std::int64_t wg = c.workgroup_size(c.is_software() ? 8 : 64);
  return {{.kernel = "softmax_columns", .defines = {{"WG", wg}}, .groups = div_up(rows, wg)}, true};
}

template <bool kLog>
Result<void> lower_softmax(LowerContext& c) {
  const Dims& x = c.sizes(0);
  if (x.numel() == 0) return {};
  TRY_ASSIGN(const std::size_t dim, c.dim(1, x.rank()));
  const std::int64_t n = x.empty() ? 1 : x[dim];
  const std::int64_t inner = x.empty() ? 1 : x.product(dim + 1, x.rank());
  const std::int64_t rows = x.numel() / n;
  const SoftmaxRoute route = softmax_route(c, rows, n, inner);
  KernelCall& k = c.emit(route);
  k.define("LOG", kLog ? 1 : 0).read("x", c.value(0)).write("out", c.output());
  k.params({{"rows", rows}, {"n", n}});
  if (route.strided) k.param("inner", inner);
  return {};
}

constexpr Op kOps[] = {
    {"aten._softmax.default", "tii>t", infer_softmax, lower_softmax<false>},
    {"aten._log_softmax.default", "tii>t", infer_softmax, lower_softmax<true>},
};

}  // namespace

std::span<const Op> softmax_ops() { return kOps; }

}  // namespace etwebgpu
