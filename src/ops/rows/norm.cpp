// Normalizations: rms_norm, layer norm, group norm, and batch norm in inference.
#include <algorithm>

#include "ops/families.h"
#include "ops/op.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

Result<void> check_vector(const InferContext& c, std::size_t arg, std::int64_t length,
                          std::string_view what) {
  if (c.is_none(arg)) return {};
  CHECK_OR_FAIL(c.sizes(arg).numel() == length, ErrorKind::InvalidProgram, what, " has sizes ",
                to_string(c.sizes(arg)), ", but ", length, " elements are needed");
  return {};
}

// --- et_vk.rms_norm(x [.., D], weight [D], eps) -> out [.., D] ---

Result<void> infer_rms_norm(InferContext& c) {
  const Dims& x = c.sizes(0);
  CHECK_OR_FAIL(x.rank() >= 1, ErrorKind::InvalidProgram, "x must have at least one dimension");
  TRY(check_vector(c, 1, x.back(), "weight"));
  return c.set_output(x);
}

Result<void> lower_rms_norm(LowerContext& c) {
  const Dims& x = c.sizes(0);
  if (x.numel() == 0) return {};
  const std::int64_t d = x.back(), rows = x.numel() / d;
  const std::int64_t vec = d % 4 == 0 ? 4 : 1;
  KernelCall& k = c.emit(rows_route(c, "rms_norm", rows, d / vec));
  k.define("T", vec == 4 ? "vec4<f32>" : "f32").define("VEC", vec);
  k.read("x", c.value(0)).read("weight", c.value(1)).write("out", c.output());
  k.params({{"rows", rows},
            {"n", d / vec},
            {"eps", c.number(2)},
            {"scale", 1.0 / static_cast<double>(d)}});
  return {};
}

// --- Layer and group norm ---

// Rows of n elements; see layer_norm.wgsl.
struct RowNorm {
  std::int64_t rows, n, inner, groups, channels;
  double eps;
};

// The optional weight and bias of affine.wgsl.
void bind_affine(LowerContext& c, KernelCall& k, std::size_t weight, std::size_t bias) {
  k.define("WEIGHT", c.is_none(weight) ? 0 : 1).define("BIAS", c.is_none(bias) ? 0 : 1);
  if (!c.is_none(weight)) k.read("weight", c.value(weight));
  if (!c.is_none(bias)) k.read("bias", c.value(bias));
}

void emit_row_norm(LowerContext& c, const RowNorm& norm, std::size_t weight, std::size_t bias) {
  if (norm.rows == 0 || norm.n == 0) return;
  const auto outputs = c.value_list(c.output_arg());
  KernelCall& k = c.emit(rows_route(c, "layer_norm", norm.rows, norm.n));
  k.read("x", c.value(0)).write("out", c.value_of(outputs[0]));
  k.write("out_mean", c.value_of(outputs[1])).write("out_rstd", c.value_of(outputs[2]));
  bind_affine(c, k, weight, bias);
  k.params({{"rows", norm.rows},
            {"n", norm.n},
            {"inner", norm.inner},
            {"groups", norm.groups},
            {"channels", norm.channels},
            {"eps", norm.eps},
            {"scale", 1.0 / static_cast<double>(norm.n)}});
}

Result<void> set_three(InferContext& c, const Dims& out, const Dims& mean, const Dims& rstd) {
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 3, ErrorKind::InvalidProgram,
                "a normalization has 3 outputs, not ", outputs.size());
  TRY(c.set_sizes(outputs[0], out));
  TRY(c.set_sizes(outputs[1], mean));
  return c.set_sizes(outputs[2], rstd);
}

// aten.native_layer_norm(x, normalized_shape, weight?, bias?, eps) -> (out, mean, rstd)
Result<void> infer_layer_norm(InferContext& c) {
  const Dims& x = c.sizes(0);
  const auto shape = c.int_list(1);
  CHECK_OR_FAIL(shape.size() <= x.rank(), ErrorKind::InvalidProgram, "normalized_shape has ",
                shape.size(), " dimensions, but x has sizes ", to_string(x));
  Dims stats = x;
  std::int64_t n = 1;
  for (std::size_t i = x.rank() - shape.size(); i < x.rank(); ++i) {
    const std::int64_t wanted = shape[i - (x.rank() - shape.size())];
    CHECK_OR_FAIL(x[i] == wanted, ErrorKind::InvalidProgram, "normalized_shape says ", wanted,
                  " for dimension ", i, ", but x has sizes ", to_string(x));
    n *= x[i];
    stats[i] = 1;
  }
  TRY(check_vector(c, 2, n, "weight"));
  TRY(check_vector(c, 3, n, "bias"));
  return set_three(c, x, stats, stats);
}

Result<void> lower_layer_norm(LowerContext& c) {
  const Dims& x = c.sizes(0);
  const std::size_t split = x.rank() - c.int_list(1).size();
  const std::int64_t n = x.product(split, x.rank());
  emit_row_norm(c, {x.product(0, split), n, 1, 1, n, c.number(4)}, 2, 3);
  return {};
}

// aten.native_group_norm(x [N, C, ..], weight?, bias?, N, C, HxW, groups, eps) -> (out, mean, rstd
// [N, groups])
Result<void> infer_group_norm(InferContext& c) {
  const Dims& x = c.sizes(0);
  const std::int64_t groups = c.integer(6);
  CHECK_OR_FAIL(x.rank() >= 2, ErrorKind::InvalidProgram, "group norm of sizes ", to_string(x),
                " needs at least two dimensions");
  CHECK_OR_FAIL(groups > 0 && x[1] % groups == 0, ErrorKind::InvalidProgram, x[1],
                " channels do not divide into ", groups, " groups");
  TRY(check_vector(c, 1, x[1], "weight"));
  TRY(check_vector(c, 2, x[1], "bias"));
  return set_three(c, x, {x[0], groups}, {x[0], groups});
}

Result<void> lower_group_norm(LowerContext& c) {
  const Dims& x = c.sizes(0);
  const std::int64_t groups = c.integer(6), channels = x[1] / groups;
  const std::int64_t inner = x.product(2, x.rank());
  emit_row_norm(c, {x[0] * groups, channels * inner, inner, groups, channels, c.number(7)}, 1, 2);
  return {};
}

// --- aten._native_batch_norm_legit_no_training(x [N, C, ..], weight?, bias?, mean, variance,
// momentum,
//     eps) -> (out, empty, empty) ---

Result<void> infer_batch_norm(InferContext& c) {
  const Dims& x = c.sizes(0);
  CHECK_OR_FAIL(x.rank() >= 2, ErrorKind::InvalidProgram, "batch norm of sizes ", to_string(x),
                " needs at least two dimensions");
  TRY(check_vector(c, 1, x[1], "weight"));
  TRY(check_vector(c, 2, x[1], "bias"));
  TRY(check_vector(c, 3, x[1], "running mean"));
  TRY(check_vector(c, 4, x[1], "running variance"));
  return set_three(c, x, {0}, {0});
}

Result<void> lower_batch_norm(LowerContext& c) {
  const Dims& x = c.sizes(0);
  if (x.numel() == 0) return {};
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& k = c.emit("batch_norm");
  k.define("WG", wg);
  k.read("x", c.value(0)).read("mean", c.value(3)).read("variance", c.value(4));
  k.write("out", c.value_of(c.value_list(c.output_arg())[0]));
  bind_affine(c, k, 1, 2);
  k.params({{"count", x.numel()},
            {"inner", x.product(2, x.rank())},
            {"channels", x[1]},
            {"eps", c.number(6)}});
  k.groups(div_up<std::int64_t>(x.numel(), wg));
  return {};
}

constexpr Op kOps[] = {
    {"et_vk.rms_norm.default", "ttf>t", infer_rms_norm, lower_rms_norm},
    {"aten.native_layer_norm.default", "tlt?t?f>v", infer_layer_norm, lower_layer_norm},
    {"aten.native_group_norm.default", "tt?t?iiiif>v", infer_group_norm, lower_group_norm},
    {"aten._native_batch_norm_legit_no_training.default", "tt?t?ttff>v", infer_batch_norm,
     lower_batch_norm},
};

}  // namespace

std::span<const Op> norm_ops() { return kOps; }

}  // namespace etwebgpu
