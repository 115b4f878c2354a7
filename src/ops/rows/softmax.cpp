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

template <bool kLog>
Result<void> lower_softmax(LowerContext& c) {
  const Dims& x = c.sizes(0);
  if (x.numel() == 0) return {};
  TRY_ASSIGN(const std::size_t dim, c.dim(1, x.rank()));
  const std::int64_t n = x.empty() ? 1 : x[dim];
  const std::int64_t inner = x.empty() ? 1 : x.product(dim + 1, x.rank());
  const std::int64_t rows = x.numel() / n;
  const bool software = c.capabilities().adapter_class == AdapterClass::Software;
  // Where rows are short or plenty, an invocation each keeps the device as busy without barriers.
  if (inner != 1 || n <= 16 || (software && rows >= 16)) {
    const std::uint32_t wg = c.workgroup_size(software ? 8 : 64);
    KernelCall& k = c.emit("softmax_columns");
    k.define("WG", wg).define("LOG", kLog ? 1 : 0);
    k.read("x", c.value(0)).write("out", c.output());
    k.params({{"rows", rows}, {"n", n}, {"inner", inner}}).groups(div_up<std::int64_t>(rows, wg));
    return {};
  }
  KernelCall& k = emit_rows(c, "softmax_rows", rows, n);
  k.define("LOG", kLog ? 1 : 0).read("x", c.value(0)).write("out", c.output());
  k.params({{"rows", rows}, {"n", n}});
  return {};
}

constexpr Op kOps[] = {
    {"aten._softmax.default", "tii>t", infer_softmax, lower_softmax<false>},
    {"aten._log_softmax.default", "tii>t", infer_softmax, lower_softmax<true>},
};

}  // namespace

std::span<const Op> softmax_ops() { return kOps; }

}  // namespace etwebgpu
