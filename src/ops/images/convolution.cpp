// Convolutions over one or two dimensions, with weights [OC, C / groups, ...] or, transposed,
// [C, OC / groups, ...]:
//
//   aten.convolution.default(x [N, C, (H,) W], weight, bias [OC] or None, stride, padding,
//   dilation,
//                            transposed, output padding, groups) -> [N, OC, (OH,) OW]
//   et_vk.conv_with_clamp.default(the same, lowest or None, highest or None)
//   fused.convolution(the same without bounds, an epilogue: see fused.h)
//   fused.depthwise_pointwise(two of them: see fused.h)
//
// Lists may have one item for both dimensions. One dimension is two with a height of 1. A constant
// weight of one group makes a matrix product, whose rows are patches of the image
// (gemm_rows_patches.wgsl); all others go weight by weight for each output (convolution.wgsl). A
// pointwise convolution's rows may also be the pixels of a depthwise one that only it reads
// (gemm_rows_depthwise.wgsl).
#include <cmath>
#include <limits>
#include <string>

#include "ops/families.h"
#include "ops/fused.h"
#include "ops/gemm/epilogue.h"
#include "ops/gemm/gemm.h"
#include "ops/images/window.h"

namespace etwebgpu {
namespace {

using namespace convolution;

struct Convolution {
  std::int64_t batch = 0, channels = 0, outputs = 0, groups = 1;
  bool transposed = false;
  Window y = {}, x = {};
  std::size_t weight = kWeight, bias = kBias;  // arguments
  std::int64_t in_pixels() const { return y.in * x.in; }
  std::int64_t out_pixels() const { return y.out * x.out; }
  std::int64_t taps() const { return y.kernel * x.kernel; }
};

// Dimension `dim` of `dims`.
Result<Window> window(const CallContext& c, std::size_t dim, std::size_t dims, bool transposed) {
  return convolution_window(c, {kStride, kPadding, kDilation, kOutputPadding},
                            c.sizes(kWeight)[2 + dim], dim, dims, transposed);
}

Result<Convolution> read(const CallContext& c) {
  const Dims &x = c.sizes(kX), &weight = c.sizes(kWeight);
  CHECK_OR_FAIL((x.rank() == 3 || x.rank() == 4) && weight.rank() == x.rank(),
                ErrorKind::InvalidProgram, "a convolution of x ", to_string(x), " with a weight ",
                to_string(weight));
  Convolution v{.batch = x[0], .channels = x[1], .transposed = c.boolean(kTransposed)};
  v.groups = c.integer(kGroups);
  CHECK_OR_FAIL(v.groups >= 1 && v.groups <= std::max<std::int64_t>(v.channels, 1),
                ErrorKind::InvalidProgram, "a convolution of ", v.channels, " channels in ",
                v.groups, " groups");
  v.outputs = v.transposed ? weight[1] * v.groups : weight[0];
  const std::int64_t channels = v.transposed ? weight[0] : weight[1] * v.groups;
  CHECK_OR_FAIL(channels == v.channels && v.channels % v.groups == 0 && v.outputs % v.groups == 0,
                ErrorKind::InvalidProgram, "a weight of sizes ", to_string(weight), " in ",
                v.groups, " groups does not fit x of sizes ", to_string(x));
  CHECK_OR_FAIL(c.is_none(kBias) || (c.sizes(kBias).rank() == 1 && c.sizes(kBias)[0] == v.outputs),
                ErrorKind::InvalidProgram, "a bias that does not have the ", v.outputs,
                " output channels");
  const std::size_t dims = x.rank() - 2;
  if (dims == 2) {
    TRY_ASSIGN(v.y, window(c, 0, dims, v.transposed));
  }
  TRY_ASSIGN(v.x, window(c, dims - 1, dims, v.transposed));
  return v;
}

Result<void> infer(InferContext& c) {
  for (const std::size_t arg : {std::size_t{kX}, std::size_t{kWeight}, c.output_arg()})
    CHECK_OR_FAIL(is_floating(c.dtype(arg)), ErrorKind::NotSupported,
                  "a convolution with a tensor of ", name(c.dtype(arg)));
  CHECK_OR_FAIL(c.is_none(kBias) || is_floating(c.dtype(kBias)), ErrorKind::NotSupported,
                "a convolution with a bias of ", name(c.dtype(kBias)));
  TRY_ASSIGN(const Convolution v, read(c));
  if (c.sizes(kX).rank() == 3) return c.set_output({v.batch, v.outputs, v.x.out});
  return c.set_output({v.batch, v.outputs, v.y.out, v.x.out});
}

Result<void> infer_clamped(InferContext& c) {
  for (const std::size_t arg : {std::size_t{kLowest}, std::size_t{kHighest}})
    CHECK_OR_FAIL(arg >= c.output_arg() || !std::isnan(c.number_or(arg, 0)),
                  ErrorKind::NotSupported, "results that are clamped to NaN");
  return infer(c);
}

Result<void> infer_fused(InferContext& c) {
  TRY(infer(c));
  return check_epilogue(c);
}

// A bound that floats can pass, or null.
std::optional<float> bound_of_results(const CallContext& c, std::size_t arg) {
  if (c.is_none(arg)) return std::nullopt;
  const double bound = c.number(arg);
  const bool can_pass = std::abs(bound) <= double{std::numeric_limits<float>::max()};
  return can_pass ? std::optional(static_cast<float>(bound)) : std::nullopt;
}

// --- One group, a constant weight: rows of patches times a matrix ---

// A first layer's three channels make no whole vectors along K: the product's kernel for that takes
// an element at a time, which a GPU does faster directly.
bool is_product(const LowerContext& c, const Convolution& v) {
  constexpr std::int64_t kVector = 4, kDeep = 1024;
  const std::int64_t depth = v.channels * v.taps();
  return v.groups == 1 && !v.transposed && c.is_constant(kWeight) &&
         (c.is_none(kBias) || c.is_constant(kBias)) && depth > 0 &&
         (depth % kVector == 0 || depth > kDeep || c.is_software());
}

GemmDoor windows(std::string_view fragment, BufferRef images, const Convolution& v) {
  GemmDoor door{.fragment = fragment, .buffers = {{"images", images}}};
  door.defines = {{"KERNEL_HEIGHT", v.y.kernel},
                  {"KERNEL_WIDTH", v.x.kernel},
                  {"PADDED", v.y.padding + v.x.padding > 0 ? 1 : 0}};
  door.params = {{"in_height", v.y.in},
                 {"in_width", v.x.in},
                 {"patches", v.out_pixels()},
                 {"patches_wide", v.x.out},
                 {"stride_y", v.y.stride},
                 {"stride_x", v.x.stride},
                 {"padding_y", v.y.padding},
                 {"padding_x", v.x.padding},
                 {"dilation_y", v.y.dilation},
                 {"dilation_x", v.x.dilation},
                 {"image_elements", v.channels * v.in_pixels()}};
  door.first_row = Literal("first_patch");
  return door;
}

GemmDoor planes(const LowerContext& c, const Convolution& v) {
  return {.fragment = "gemm_store_planes",
          .buffers = {{"planes", c.output()}},
          .params = {{"plane_elements", v.out_pixels()}, {"planes_count", v.outputs}},
          .first_row = Literal("first_pixel")};
}

// The last dimensions of a weight as one.
Result<PackedPart> matrix(LowerContext& c, const Convolution& v) {
  TRY_ASSIGN(PackedPart part, c.part(v.weight));
  part.dims = {v.outputs, v.channels / v.groups * v.taps()};
  return part;
}

Result<void> lower_product(LowerContext& c, GemmDoor rows, const Convolution& v,
                           const Epilogue& epilogue) {
  Gemm gemm;
  gemm.x_door = std::move(rows);
  gemm.rows = v.batch * v.out_pixels();
  gemm.depth = v.channels * v.taps();
  gemm.packing = c.dtype(v.weight) == DType::Float16 ? Packing::HalfPanels : Packing::FloatPanels;
  GemmPart& part = gemm.parts.emplace_back();
  part.columns = v.outputs;
  TRY_ASSIGN(part.weight, matrix(c, v));
  if (!c.is_none(v.bias)) {
    TRY_ASSIGN(part.bias, c.part(v.bias));
  }
  if (epilogue.residual) gemm.residual = GemmInput{*epilogue.residual};
  gemm.activation = epilogue.activation;
  gemm.out_door = planes(c, v);
  return lower_gemm(c, gemm);
}

// --- All others: weight by weight for each output ---

void lower_direct(LowerContext& c, const Convolution& v, BufferRef out, const Epilogue& epilogue) {
  const std::int64_t count = v.batch * v.outputs * v.out_pixels();
  const std::int64_t wg = c.workgroup_size(64);
  KernelCall& k = c.emit("convolution");
  k.define("WG", wg).define("TRANSPOSED", v.transposed ? 1 : 0);
  k.define("KERNEL_HEIGHT", v.y.kernel).define("KERNEL_WIDTH", v.x.kernel);
  k.read("x", c.value(kX)).read("weight", c.value(kWeight)).write("out", out);
  if (!c.is_none(kBias)) k.define("BIAS", 1).read("bias", c.value(kBias));
  k.params({{"count", count},
            {"channels", v.channels / v.groups},
            {"outputs", v.outputs / v.groups},
            {"groups", v.groups}});
  put_windows(k, v.y, v.x);
  if (epilogue.residual) k.define("RESIDUAL", 1).read("residual", *epilogue.residual);
  if (epilogue.activation) apply(k, *epilogue.activation);
  k.groups(div_up(count, wg));
}

Result<void> lower_with(LowerContext& c, const Epilogue& epilogue) {
  TRY_ASSIGN(const Convolution v, read(c));
  if (v.batch * v.outputs * v.out_pixels() == 0) return {};
  if (is_product(c, v))
    return lower_product(c, windows("gemm_rows_patches", c.value(kX), v), v, epilogue);
  lower_direct(c, v, c.output(), epilogue);
  return {};
}

Result<void> lower(LowerContext& c) { return lower_with(c, {}); }
Result<void> lower_clamped(LowerContext& c) {
  return lower_with(
      c, {.activation = bounding(bound_of_results(c, kLowest), bound_of_results(c, kHighest))});
}
Result<void> lower_fused(LowerContext& c) { return lower_with(c, epilogue_of(c)); }

// --- A depthwise convolution and a pointwise one ---

// The second, of the first one's results.
Convolution pointwise_after(const CallContext& c, const Convolution& depthwise) {
  namespace args = depthwise_pointwise;
  Convolution v{.batch = depthwise.batch, .channels = depthwise.outputs};
  v.outputs = c.sizes(args::kPointwiseWeight)[0];
  v.weight = args::kPointwiseWeight;
  v.bias = args::kPointwiseBias;
  v.y.in = v.y.out = depthwise.y.out;
  v.x.in = v.x.out = depthwise.x.out;
  return v;
}

Result<void> infer_depthwise_pointwise(InferContext& c) {
  TRY_ASSIGN(const Convolution depthwise, read(c));
  const Convolution v = pointwise_after(c, depthwise);
  Dims sizes{v.batch, v.outputs, v.y.out, v.x.out};
  if (c.sizes(kX).rank() == 3) sizes = {v.batch, v.outputs, v.x.out};
  TRY(c.set_output(sizes));
  return check_epilogue(c);
}

std::int64_t word_bytes(std::int64_t count) {
  return static_cast<std::int64_t>(storage_bytes(Storage::F32, count));
}

// The product computes what it reads of the depthwise results for each block of its columns anew.
// On a GPU that is worth a dispatch and a way through memory up to some number of products, and as
// long as four rows fit a workgroup's memory beside sums; on a software adapter where there is one
// block, whose lanes share what they read. For else each invocation would compute it. By the
// recorded sizes: all plans share what is packed. MobileNetV2 takes 0.50 instead of 0.54 ms so on
// an H200.
bool is_worth_computing_again(const LowerContext& c, const Convolution& depthwise,
                              const Convolution& v) {
  constexpr std::int64_t kMostAgain = 1 << 22, kRows = 4, kSums = 8 << 10;
  const Capabilities& caps = c.capabilities();
  if (c.is_software() && !caps.subgroups) return false;
  const std::int64_t pixels = c.bound(c.output_arg()).numel() / v.outputs;
  const std::int64_t block = c.is_software() ? kPanel : kPanel / 2;
  const std::int64_t again = (div_up(v.outputs, block) - 1) * pixels * v.channels;
  return again * depthwise.taps() <= (c.is_software() ? 0 : kMostAgain) &&
         word_bytes(kRows * v.channels) + kSums <= caps.max_workgroup_storage;
}

// Taps lie by panels of channels.
Result<GemmDoor> depthwise_rows(LowerContext& c, const Convolution& v) {
  GemmDoor door = windows("gemm_rows_depthwise", c.value(kX), v);
  TRY_ASSIGN(PackedPart weight, matrix(c, v));
  TRY_ASSIGN(const BufferRef taps, c.packed({Packing::FloatPanels, {std::move(weight)}}));
  door.buffers.push_back({"taps", taps});
  if (!c.is_none(kBias)) {
    TRY_ASSIGN(PackedPart bias, c.part(kBias));
    TRY_ASSIGN(const BufferRef packed, c.packed({Packing::FloatPanels, {std::move(bias)}}));
    door.buffers.push_back({"tap_bias", packed});
    door.defines.emplace_back("TAP_BIAS", 1);
  }
  door.defines.emplace_back("QUADS", v.channels / 4);
  door.params.push_back({"kernel_height", v.y.kernel});
  door.workgroup_bytes = word_bytes(v.channels);
  door.activation = activation_at(c, depthwise_pointwise::kFunction);
  return door;
}

Result<void> lower_depthwise_pointwise(LowerContext& c) {
  TRY_ASSIGN(const Convolution depthwise, read(c));
  const Convolution v = pointwise_after(c, depthwise);
  const std::int64_t pixels = v.batch * v.out_pixels();
  if (pixels == 0) return {};
  if (is_worth_computing_again(c, depthwise, v)) {
    TRY_ASSIGN(GemmDoor rows, depthwise_rows(c, depthwise));
    return lower_product(c, std::move(rows), v, epilogue_of(c));
  }
  const BufferRef between = c.scratch(pixels * v.channels);
  lower_direct(c, depthwise, between,
               {.activation = activation_at(c, depthwise_pointwise::kFunction)});
  return lower_product(c, windows("gemm_rows_patches", between, v), v, epilogue_of(c));
}

constexpr Op kOps[] = {
    {"aten.convolution.default", "t t t? l l l i l i > t", infer, lower},
    {"et_vk.conv_with_clamp.default", "t t t? l l l i l i f? f? > t", infer_clamped, lower_clamped},
    {.name = "fused.convolution",
     .signature = "t t t? l l l i l i t? s? _ _ > t",
     .infer = infer_fused,
     .lower = lower_fused,
     .internal = true},
    {.name = depthwise_pointwise::kName,
     .signature = "t t t? l l l i l i s? _ _ t t? t? s? _ _ > t",
     .infer = infer_depthwise_pointwise,
     .lower = lower_depthwise_pointwise,
     .internal = true},
};

}  // namespace

std::span<const Op> convolution_ops() { return kOps; }

}  // namespace etwebgpu
