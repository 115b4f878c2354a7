// Products with f32 and f16 matrices: aten.linear, mm, bmm, addmm, and a weight's gradient. A
// constant second operand goes to the packed linear kernels; a live one, or a constant in batches,
// to the matmul kernels.
#include "ops/linear/linear.h"

#include "ops/families.h"
#include "ops/gemm/epilogue.h"
#include "ops/linear/matmul.h"
#include "ops/quantized/dequantized.h"

namespace etwebgpu {
namespace {

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
  const auto bytes =
      byte_matrix(c.graph().constants[static_cast<std::size_t>(part.weight.constant)]);
  if (!bytes || bytes->elements.dims != part.weight.dims || part.weight.transposed) return;
  if (bytes->group < bytes->elements.dims[1] && bytes->group % kWordBytes != 0) return;
  part.weight = bytes->elements;
  part.scales = bytes->scales;
  linear.packing = Packing::Q8Panels;
  linear.group_size = bytes->group;
}

// Linear layer over a constant weight: [N, K], or [K, N] if transposed.
Result<void> lower_constant(LowerContext& c, std::size_t x, std::size_t weight, bool transposed,
                            std::optional<std::size_t> bias, const Epilogue& epilogue = {}) {
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
  if (epilogue.residual) linear.residual = GemmInput{*epilogue.residual};
  linear.activation = epilogue.activation;
  return lower_gemm(c, linear);
}

Result<void> check_floats(const InferContext& c, std::size_t x, std::size_t y) {
  CHECK_OR_FAIL(is_floating(c.dtype(x)) && is_floating(c.dtype(y)), ErrorKind::NotSupported,
                "products of ", name(c.dtype(x)), " and ", name(c.dtype(y)), " matrices");
  return {};
}

// --- aten.linear(x [.., K], weight [N, K], bias or None) -> out [.., N] ---
// The exporter also makes it of addmm(bias, x, y.t()), so a bias may be anything that broadcasts.

Result<void> check_linear(const InferContext& c) {
  const Dims &x = c.sizes(0), &weight = c.sizes(1);
  TRY(check_floats(c, 0, 1));
  CHECK_OR_FAIL(x.rank() >= 1 && weight.rank() == 2 && weight[1] == x.back(),
                ErrorKind::InvalidProgram, "x of sizes ", to_string(x), " and weight of sizes ",
                to_string(weight), " do not fit");
  return c.is_none(2) ? Result<void>() : check_bias(c.sizes(2), linear_rows(x), weight[0]);
}

Result<void> infer_linear(InferContext& c) {
  TRY(check_linear(c));
  TRY_ASSIGN(const Dims out,
             linear_sizes(c.sizes(0), c.bound(c.output_arg()).rank(), c.sizes(1)[0]));
  return c.set_output(out);
}

std::optional<std::size_t> linear_bias(const LowerContext& c) {
  return c.is_none(2) ? std::nullopt : std::optional<std::size_t>(2);
}

Result<void> lower_linear_op(LowerContext& c) {
  const bool bias = !c.is_none(2);
  if (is_packable(c, 1) && (!bias || is_constant_row(c, 2, c.sizes(1)[0])))
    return lower_constant(c, 0, 1, false, linear_bias(c));
  Matmul p{.x = c.value(0), .y = c.value(1), .out = c.output()};
  p.m = linear_rows(c.sizes(0));
  p.k = c.sizes(0).back();
  p.n = c.sizes(1)[0];
  p.y_transposed = true;
  if (bias) add_bias(p, c.value(2), c.sizes(2));
  emit_matmul(c, p);
  return {};
}

// With an epilogue (fused.h), over constants.
// With a residual the output has its sizes: views between the two are gone.
Result<void> infer_fused_linear(InferContext& c) {
  constexpr std::size_t kResidual = 3;
  if (c.is_none(kResidual)) return infer_linear(c);
  TRY(check_linear(c));
  const Dims& added = c.sizes(kResidual);
  const std::int64_t rows = linear_rows(c.sizes(0)), n = c.sizes(1)[0];
  CHECK_OR_FAIL(added.rank() >= 1 && added.back() == n && linear_rows(added) == rows,
                ErrorKind::InvalidArgument, "a residual of sizes ", to_string(added),
                " is added to ", rows, " rows of ", n);
  return c.set_output(added);
}

Result<void> lower_fused_linear(LowerContext& c) {
  return lower_constant(c, 0, 1, false, linear_bias(c), epilogue_of(c));
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

// --- et_vk.linear_dW(d_out [.., N], x [.., K]) -> d_out^T @ x [N, K]: the gradient of a linear
// layer's weight ---

Result<void> infer_weight_gradient(InferContext& c) {
  const Dims &d_out = c.sizes(0), &x = c.sizes(1);
  TRY(check_floats(c, 0, 1));
  CHECK_OR_FAIL(d_out.rank() >= 1 && x.rank() >= 1 && linear_rows(d_out) == linear_rows(x),
                ErrorKind::InvalidProgram, "d_out of sizes ", to_string(d_out), " and x of sizes ",
                to_string(x), " do not have the same rows");
  return c.set_output({d_out.back(), x.back()});
}

Result<void> lower_weight_gradient(LowerContext& c) {
  const Dims &d_out = c.sizes(0), &x = c.sizes(1);
  emit_matmul(c, {.x = c.value(0),
                  .y = c.value(1),
                  .out = c.output(),
                  .m = d_out.back(),
                  .k = linear_rows(x),
                  .n = x.back(),
                  .x_transposed = true});
  return {};
}

constexpr Op kOps[] = {
    {"aten.addmm.default", "t t t f f > t", infer_addmm, lower_addmm},
    {"aten.bmm.default", "t t > t", infer_bmm, lower_bmm},
    {"aten.linear.default", "t t t? > t", infer_linear, lower_linear_op},
    {"aten.mm.default", "t t > t", infer_mm, lower_mm},
    {"et_vk.linear_dW.default", "t t > t", infer_weight_gradient, lower_weight_gradient},
    {.name = "fused.linear",
     .signature = "t t t? t? s? _ _ > t",
     .infer = infer_fused_linear,
     .lower = lower_fused_linear,
     .internal = true},
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
