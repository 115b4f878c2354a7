// Products with f32 and f16 matrices: aten.linear, mm, bmm, addmm. A constant second operand goes
// to the packed linear kernels; a live one, or a constant in batches, to the matmul kernels.
#include "ops/linear/linear.h"

#include <algorithm>
#include <numeric>

#include "ops/families.h"

namespace etwebgpu {
namespace {

// out[b] = alpha * x[b] @ y[b] + beta * bias, with x [batch, m, k], y [batch, k, n] or [batch, n,
// k], and the bias broadcast by its strides.
struct Matmul {
  BufferRef x = {}, y = {}, out = {};
  std::int64_t batch = 1, m = 0, k = 0, n = 0;
  bool y_transposed = false;
  double alpha = 1.0, beta = 1.0;
  std::optional<BufferRef> bias = {};
  std::int64_t bias_row = 0, bias_column = 0;
};

// Batches whose matrices fit bindings, in numbers that suit every alignment.
std::int64_t batches_per_binding(const LowerContext& c, const Matmul& p) {
  constexpr std::int64_t kUnit = 64;  // elements whose bytes suit every alignment
  const std::int64_t limit = storage_elements(Storage::F32, c.capabilities().max_storage_binding);
  const std::int64_t sizes[] = {p.m * p.k, p.k * p.n, p.m * p.n};
  std::int64_t unit = 1, most = p.batch;
  for (std::int64_t size : sizes) {
    if (size == 0) continue;
    unit = std::lcm(unit, kUnit / std::gcd(kUnit, size));
    most = std::min(most, limit / size);
  }
  return most >= p.batch ? p.batch : std::max(most / unit * unit, unit);
}

ByteRange batch_range(std::int64_t first, std::int64_t count, std::int64_t batch,
                      std::int64_t size) {
  if (count == batch) return {};
  return elements_range(first * size, count * size);
}

struct MatmulRoute : Route {
  std::int64_t rows, columns;  // of a workgroup
};

// matmul_tiles stages 32 x 32; an invocation of matmul_columns computes 4 x 4 with 16 of them side
// by side.
MatmulRoute matmul_route(const LowerContext& c) {
  if (c.is_software()) return {{.kernel = "matmul_columns"}, 4, 64};
  return {{.kernel = "matmul_tiles"}, 32, 32};
}

void emit_batches(LowerContext& c, const Matmul& p, std::int64_t first, std::int64_t count) {
  const MatmulRoute route = matmul_route(c);
  KernelCall& k = c.emit(route);
  k.define("TRANSPOSED", p.y_transposed ? 1 : 0).define("BIAS", p.bias ? 1 : 0);
  const auto range = [&](std::int64_t size) { return batch_range(first, count, p.batch, size); };
  k.read("x", p.x, range(p.m * p.k)).read("y", p.y, range(p.k * p.n));
  if (p.bias) k.read("bias", *p.bias);
  k.write("out", p.out, range(p.m * p.n));
  const std::int64_t row_blocks = div_up(p.m, route.rows),
                     column_blocks = div_up(p.n, route.columns);
  k.params({{"batch", count},
            {"m", p.m},
            {"k", p.k},
            {"n", p.n},
            {"row_blocks", row_blocks},
            {"column_blocks", column_blocks},
            {"alpha", p.alpha},
            {"beta", p.beta},
            {"bias_row", p.bias_row},
            {"bias_column", p.bias_column}});
  k.groups(count * row_blocks * column_blocks);
}

void emit_matmul(LowerContext& c, const Matmul& p) {
  if (p.batch * p.m * p.n == 0) return;
  const std::int64_t step = batches_per_binding(c, p);
  for (std::int64_t first = 0; first < p.batch; first += step)
    emit_batches(c, p, first, std::min(step, p.batch - first));
}

// A bias that broadcasts to [rows, n].
Result<void> check_bias(const Dims& bias, std::int64_t rows, std::int64_t n) {
  const std::int64_t extents[] = {n, rows};
  bool fits = bias.rank() <= 2;
  for (std::size_t i = 0; fits && i < bias.rank(); ++i) {
    const std::int64_t extent = bias[bias.rank() - 1 - i];
    fits = extent == 1 || extent == extents[i];
  }
  CHECK_OR_FAIL(fits, ErrorKind::InvalidProgram, "bias of sizes ", to_string(bias),
                " does not broadcast to ", to_string(Dims{rows, n}));
  return {};
}

void add_bias(Matmul& p, BufferRef buffer, const Dims& bias) {
  const std::size_t rank = bias.rank();
  p.bias = buffer;
  p.bias_column = rank >= 1 && bias[rank - 1] != 1 ? 1 : 0;
  p.bias_row = rank == 2 && bias[0] != 1 ? bias[1] : 0;
}

// True if the packed kernels take the weight: known at load, and of some depth.
bool is_packable(const LowerContext& c, std::size_t weight) {
  return c.is_constant(weight) && c.bound(weight).numel() > 0;
}

// True if the packed kernels take the bias: one element per column, known at load.
bool is_constant_row(const LowerContext& c, std::size_t bias, std::int64_t n) {
  return c.is_constant(bias) && c.bound(bias).rank() == 1 && c.bound(bias)[0] == n;
}

// A weight that was dequantized as the 8-bit integers that it was: those without zero points, and
// with a scale for each row, or for groups of whole words.
void take_bytes(const LowerContext& c, Gemm& linear) {
  constexpr std::int64_t kWordBytes = 4;
  GemmPart& part = linear.parts.back();
  const auto& made = c.graph().constants[static_cast<std::size_t>(part.weight.constant)].made;
  if (!made || made->zero_points || made->zero_point != 0 || part.weight.transposed) return;
  const TensorInfo& weight = made->elements;
  if (weight.dtype != DType::Int8 || weight.bound != part.weight.dims || made->blocks[0] != 1)
    return;
  const std::int64_t depth = weight.bound[1], group = made->blocks[1];
  if (group < depth && group % kWordBytes != 0) return;
  part.weight = {weight.constant, weight.dtype, weight.bound};
  part.scales = {made->scales.constant, made->scales.dtype, Dims{weight.bound[0], depth / group}};
  linear.packing = Packing::Q8Panels;
  linear.group_size = group;
}

// Linear layer over a constant weight: [N, K], or [K, N] if transposed.
Result<void> lower_constant(LowerContext& c, std::size_t x, std::size_t weight, bool transposed,
                            std::optional<std::size_t> bias) {
  Gemm linear;
  linear.x = {c.value(x)};
  linear.rows = linear_rows(c.sizes(x));
  linear.depth = c.sizes(x).back();
  linear.packing = c.dtype(weight) == DType::Float16 ? Packing::HalfPanels : Packing::FloatPanels;
  GemmPart& part = linear.parts.emplace_back();
  TRY_ASSIGN(part.weight, c.part(weight));
  part.weight.transposed = transposed;
  take_bytes(c, linear);
  if (bias) {
    TRY_ASSIGN(part.bias, c.part(*bias));
  }
  part.columns = c.sizes(weight)[transposed ? 1 : 0];
  linear.outs = {c.output()};
  return lower_gemm(c, linear);
}

Result<void> check_floats(const InferContext& c, std::size_t x, std::size_t y) {
  CHECK_OR_FAIL(is_floating(c.dtype(x)) && is_floating(c.dtype(y)), ErrorKind::NotSupported,
                "products of ", name(c.dtype(x)), " and ", name(c.dtype(y)), " matrices");
  return {};
}

// --- aten.linear(x [.., K], weight [N, K], bias or None) -> out [.., N] ---
// The exporter also makes it of addmm(bias, x, y.t()), so a bias may be anything that broadcasts.

Result<void> infer_linear(InferContext& c) {
  const Dims &x = c.sizes(0), &weight = c.sizes(1);
  TRY(check_floats(c, 0, 1));
  CHECK_OR_FAIL(x.rank() >= 1 && weight.rank() == 2 && weight[1] == x.back(),
                ErrorKind::InvalidProgram, "x of sizes ", to_string(x), " and weight of sizes ",
                to_string(weight), " do not fit");
  if (!c.is_none(2)) TRY(check_bias(c.sizes(2), linear_rows(x), weight[0]));
  TRY_ASSIGN(const Dims out, linear_sizes(x, c.bound(c.output_arg()).rank(), weight[0]));
  return c.set_output(out);
}

Result<void> lower_linear_op(LowerContext& c) {
  const bool bias = !c.is_none(2);
  if (is_packable(c, 1) && (!bias || is_constant_row(c, 2, c.sizes(1)[0]))) {
    return lower_constant(c, 0, 1, false, bias ? std::optional<std::size_t>(2) : std::nullopt);
  }
  Matmul p{.x = c.value(0), .y = c.value(1), .out = c.output()};
  p.m = linear_rows(c.sizes(0));
  p.k = c.sizes(0).back();
  p.n = c.sizes(1)[0];
  p.y_transposed = true;
  if (bias) add_bias(p, c.value(2), c.sizes(2));
  emit_matmul(c, p);
  return {};
}

// --- aten.mm(x [M, K], y [K, N]) and aten.bmm with a leading batch ---

Result<void> check_product(const Dims& x, const Dims& y, std::size_t rank) {
  CHECK_OR_FAIL(x.rank() == rank && y.rank() == rank && x[rank - 1] == y[rank - 2] &&
                    (rank == 2 || x[0] == y[0]),
                ErrorKind::InvalidProgram, "matrices of sizes ", to_string(x), " and ",
                to_string(y), " cannot be multiplied");
  return {};
}

Result<void> infer_mm(InferContext& c) {
  TRY(check_floats(c, 0, 1));
  TRY(check_product(c.sizes(0), c.sizes(1), 2));
  return c.set_output({c.sizes(0)[0], c.sizes(1)[1]});
}

Result<void> lower_mm(LowerContext& c) {
  if (is_packable(c, 1)) return lower_constant(c, 0, 1, true, std::nullopt);
  const Dims &x = c.sizes(0), &y = c.sizes(1);
  emit_matmul(
      c, {.x = c.value(0), .y = c.value(1), .out = c.output(), .m = x[0], .k = x[1], .n = y[1]});
  return {};
}

Result<void> infer_bmm(InferContext& c) {
  const Dims &x = c.sizes(0), &y = c.sizes(1);
  TRY(check_floats(c, 0, 1));
  TRY(check_product(x, y, 3));
  return c.set_output({x[0], x[1], y[2]});
}

Result<void> lower_bmm(LowerContext& c) {
  const Dims &x = c.sizes(0), &y = c.sizes(1);
  emit_matmul(c, {.x = c.value(0),
                  .y = c.value(1),
                  .out = c.output(),
                  .batch = x[0],
                  .m = x[1],
                  .k = x[2],
                  .n = y[2]});
  return {};
}

// --- aten.addmm(bias, x [M, K], y [K, N], beta, alpha): beta * bias + alpha * x @ y ---

Result<void> infer_addmm(InferContext& c) {
  const Dims &x = c.sizes(1), &y = c.sizes(2);
  TRY(check_floats(c, 1, 2));
  TRY(check_product(x, y, 2));
  TRY(check_bias(c.sizes(0), x[0], y[1]));
  return c.set_output({x[0], y[1]});
}

Result<void> lower_addmm(LowerContext& c) {
  const Dims &x = c.sizes(1), &y = c.sizes(2);
  const double beta = c.number(3), alpha = c.number(4);
  if (is_packable(c, 2) && is_constant_row(c, 0, y[1]) && beta == 1.0 && alpha == 1.0) {
    return lower_constant(c, 1, 2, true, 0);
  }
  Matmul p{.x = c.value(1), .y = c.value(2), .out = c.output(), .m = x[0], .k = x[1], .n = y[1]};
  p.alpha = alpha;
  p.beta = beta;
  // As in PyTorch, beta = 0 ignores what the bias holds.
  if (beta != 0.0) add_bias(p, c.value(0), c.sizes(0));
  emit_matmul(c, p);
  return {};
}

constexpr Op kOps[] = {
    {"aten.addmm.default", "t t t f f > t", infer_addmm, lower_addmm},
    {"aten.bmm.default", "t t > t", infer_bmm, lower_bmm},
    {"aten.linear.default", "t t t? > t", infer_linear, lower_linear_op},
    {"aten.mm.default", "t t > t", infer_mm, lower_mm},
};

}  // namespace

Result<Dims> linear_sizes(const Dims& x, std::size_t out_rank, std::int64_t n) {
  CHECK_OR_FAIL(x.rank() >= 1, ErrorKind::InvalidProgram, "x must have at least one dimension");
  Dims out = x;
  out[x.rank() - 1] = n;
  if (out_rank == x.rank()) return out;
  CHECK_OR_FAIL(out_rank == 2, ErrorKind::InvalidProgram, "an output of rank ", out_rank,
                " does not follow from x of sizes ", to_string(x));
  return Dims{linear_rows(x), n};
}

std::span<const Op> linear_ops() { return kOps; }

}  // namespace etwebgpu
