// Linear layers with quantized weights, and the way back through them, computed as x times the
// dequantized weight in f32. Where x is to be quantized too, it becomes what is left of it in 8
// bits first (fake_quantize.wgsl). Layers whose results are quantized as well are in ops/bytes.
#include <algorithm>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/fused.h"
#include "ops/gemm/epilogue.h"
#include "ops/linear/linear.h"
#include "ops/linear/matmul.h"
#include "ops/quantized/choose_qparams.h"

namespace etwebgpu {
namespace {

Result<void> check_group(std::int64_t depth, std::int64_t group) {
  CHECK_OR_FAIL(group > 0 && depth % group == 0, ErrorKind::InvalidProgram, "the group size ",
                group, " does not divide the ", depth, " elements of x's rows");
  return {};
}

// A weight [>= n, K/2] of nibble pairs; K may be padded to whole words.
Result<void> check_nibbles(const Dims& weight, std::int64_t n, std::int64_t depth) {
  CHECK_OR_FAIL(
      weight.rank() == 2 && weight[0] >= n && 2 * weight[1] >= depth && 2 * weight[1] < depth + 8,
      ErrorKind::InvalidProgram, "weight of sizes ", to_string(weight), " does not hold ", n,
      " rows of ", depth, " nibbles");
  return {};
}

// Scales [groups, >= n].
Result<void> check_scales(const Dims& scales, std::int64_t n, std::int64_t groups) {
  CHECK_OR_FAIL(scales.rank() == 2 && scales[0] == groups && scales[1] >= n,
                ErrorKind::InvalidProgram, "scales of sizes ", to_string(scales), " do not hold ",
                groups, " groups of ", n);
  return {};
}

// A vector [>= n]: per-channel scales, or a bias.
Result<void> check_vector(std::string_view what, const Dims& sizes, std::int64_t n) {
  CHECK_OR_FAIL(sizes.rank() == 1 && sizes[0] >= n, ErrorKind::InvalidProgram, what, " of sizes ",
                to_string(sizes), " does not hold ", n, " elements");
  return {};
}

Result<std::int64_t> depth_of(const Dims& x) {
  CHECK_OR_FAIL(x.rank() >= 1 && x.back() >= 1, ErrorKind::InvalidProgram, "x of sizes ",
                to_string(x), " has no elements to sum over");
  return x.back();
}

// --- Groups of 4-bit elements: et_vk.linear_q4gsw and what is stacked from it ---

}  // namespace

Result<void> infer_group_part(InferContext& c, const Dims& x, std::int64_t group, ValueId weight,
                              ValueId scales, ValueId bias, ValueId out) {
  TRY_ASSIGN(const std::int64_t depth, depth_of(x));
  const std::int64_t n = output_width(c, out);
  TRY(check_group(depth, group));
  TRY(check_nibbles(c.sizes_of(weight), n, depth));
  TRY(check_scales(c.sizes_of(scales), n, depth / group));
  if (bias != kNoValue) TRY(check_vector("bias", c.sizes_of(bias), n));
  TRY_ASSIGN(const Dims sizes, linear_sizes(x, c.graph().tensor(out)->bound.rank(), n));
  return c.set_sizes(out, sizes);
}

Result<GemmPart> group_part(LowerContext& c, ValueId weight, ValueId scales, ValueId bias,
                            std::int64_t n) {
  GemmPart part;
  TRY_ASSIGN(part.weight, c.part_of(weight));
  TRY_ASSIGN(part.scales, c.part_of(scales));
  part.scales->transposed = true;
  if (bias != kNoValue) {
    TRY_ASSIGN(part.bias, c.part_of(bias));
  }
  part.columns = n;
  return part;
}

Gemm group_linear(BufferRef x, const Dims& sizes, std::int64_t group) {
  Gemm linear;
  linear.x = {x};
  linear.rows = linear_rows(sizes);
  linear.depth = sizes.back();
  linear.packing = Packing::Q4Panels;
  linear.group_size = group;
  return linear;
}

Result<void> check_last_row(const Dims& x) {
  CHECK_OR_FAIL(x[1] > 0, ErrorKind::InvalidArgument, "there is no last token in x of sizes ",
                to_string(x));
  return {};
}

void take_last_row(LowerContext& c, GemmInput& input, const Dims& sizes) {
  const std::int64_t first = sizes.numel() - sizes.back();
  if (storage_bytes(Storage::F32, first) % c.capabilities().storage_alignment == 0) {
    input.first_element = first;
    return;
  }
  const BufferRef row = c.scratch(sizes.back());
  const std::int64_t strides[] = {1};
  emit_copy(c, {input.buffer}, first, copy_loops({sizes.back()}, strides), {row});
  input.buffer = row;
}

Result<void> check_residual(const CallContext& c, std::size_t residual, ValueId out, bool last) {
  if (c.is_none(residual)) return {};
  const Dims &added = c.sizes(residual), &to = c.sizes_of(out);
  const bool fits = added.numel() == to.numel() ||
                    (last && !added.empty() && added.back() == to.back() && added.numel() > 0);
  CHECK_OR_FAIL(fits, ErrorKind::InvalidProgram, "a residual of sizes ", to_string(added),
                " is added to ", to_string(to));
  return {};
}

void add_residual(LowerContext& c, Gemm& linear, std::size_t residual, bool last) {
  if (c.is_none(residual)) return;
  linear.residual = GemmInput{c.value(residual)};
  if (last) take_last_row(c, *linear.residual, c.sizes(residual));
}

namespace {

// et_vk.linear_q4gsw(x [.., K], weight u8 [N, K/2], scales [K/G, N], G, bias [N] or None) -> out
// [.., N] value = nibble - 8, the low nibble first. The exporter pads K to 8, and N of scales and
// bias to 4.
Result<void> infer_q4gsw(InferContext& c) {
  return infer_group_part(c, c.sizes(0), c.integer(3), c.id(1), c.id(2), c.optional_id(4),
                          c.output_id());
}

Result<void> lower_q4gsw(LowerContext& c) {
  Gemm linear = group_linear(c.value(0), c.sizes(0), c.integer(3));
  TRY_ASSIGN(linear.parts.emplace_back(),
             group_part(c, c.id(1), c.id(2), c.optional_id(4), output_width(c, c.output_id())));
  linear.outs = {c.output()};
  return lower_gemm(c, linear);
}

// et_vk.linear_q4gsw_backward(d_out [.., N], weight u8 [N, K/2], scales [K/G, N], G) -> out [..,
// K]: d_out times the dequantized weight. The constants are packed as for the layer itself, so that
// both read one copy; scales of f16 are here once more, as f32.
Result<void> infer_q4gsw_backward(InferContext& c) {
  const Dims& d_out = c.sizes(0);
  TRY_ASSIGN(const std::int64_t n, depth_of(d_out));
  const std::int64_t depth = output_width(c, c.output_id()), group = c.integer(3);
  TRY(check_group(depth, group));
  TRY(check_nibbles(c.sizes(1), n, depth));
  TRY(check_scales(c.sizes(2), n, depth / group));
  TRY_ASSIGN(const Dims sizes, linear_sizes(d_out, c.bound(c.output_arg()).rank(), depth));
  return c.set_output(sizes);
}

Result<void> lower_q4gsw_backward(LowerContext& c) {
  const Dims& d_out = c.sizes(0);
  const std::int64_t n = d_out.back(), depth = output_width(c, c.output_id());
  TRY_ASSIGN(GemmPart part, group_part(c, c.id(1), c.id(2), kNoValue, n));
  part.weight.rows = part.scales->rows = n;
  Matmul::Groups weight{.words = panel_words(Packing::Q4Panels, part.weight),
                        .groups = depth / c.integer(3),
                        .group_size = c.integer(3)};
  TRY_ASSIGN(weight.weights, c.packed({Packing::Q4Panels, {part.weight}}));
  TRY_ASSIGN(weight.scales, c.packed({Packing::FloatPanels, {*part.scales}}));
  emit_matmul(c, {.x = c.value(0),
                  .out = c.output(),
                  .m = linear_rows(d_out),
                  .k = n,
                  .n = depth,
                  .weight = weight});
  return {};
}

// How the first argument is quantized: by row, or with the one zero point and scale.
struct FakeQuantize {
  struct Rows {
    BufferRef scales, zero_points;
  };
  std::optional<Rows> by_row = std::nullopt;
  std::int64_t zero_point = 0;
  double scale = 1.0;
};

// The first argument as floats, after it was quantized to 8 bits and back.
BufferRef emit_fake_quantize(LowerContext& c, const FakeQuantize& what) {
  const Dims& x = c.sizes(0);
  const BufferRef out = c.scratch(x.numel());
  if (x.numel() == 0) return out;
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& k = c.emit("fake_quantize");
  k.define("WG", wg).define("BY_ROW", what.by_row ? 1 : 0).read("x", c.value(0));
  if (what.by_row)
    k.read("scales", what.by_row->scales).read("zero_points", what.by_row->zero_points);
  k.write("out", out);
  k.params({{"count", x.numel()},
            {"n", x.back()},
            {"zero_point", Signed{what.zero_point}},
            {"scale", what.scale}});
  k.groups(div_up<std::int64_t>(x.numel(), wg));
  return out;
}

// The same of one that comes in 8 bits.
BufferRef emit_dequantize(LowerContext& c, const FakeQuantize& what) {
  const std::int64_t count = c.sizes(0).numel();
  const BufferRef out = c.scratch(count);
  const Operand x = operand(c, 0, Element::F32);
  const Elementwise value{
      .expression = "(a - x) * y", .x = static_cast<double>(what.zero_point), .y = what.scale};
  if (count > 0) emit_elementwise(c, value, {&x, 1}, {{count, {1, 0, 0}}}, {out});
  return out;
}

// --- x is quantized with a scale and a zero point for each row ---

// et_vk.linear_dq8ca_q4gsw(x, x scales, x zero points, weight, weight sums, scales [K/G, N], G,
// bias or None); both of x's are None where the operator chooses them.
namespace dq8ca {
enum { kX, kXScales, kXZeros, kWeight, kSums, kScales, kGroup, kBias, kSplits = kBias, kHeads };
}  // namespace dq8ca

Result<void> check_rows_quantized(const CallContext& c) {
  using namespace dq8ca;
  CHECK_OR_FAIL(c.is_none(kXScales) == c.is_none(kXZeros), ErrorKind::InvalidProgram,
                "x has scales without zero points, or zero points without scales");
  CHECK_OR_FAIL(is_floating(c.dtype(kX)), ErrorKind::NotSupported, "rows of type ",
                name(c.dtype(kX)), " that are to be quantized");
  if (c.is_none(kXScales)) return {};
  const std::int64_t rows = linear_rows(c.sizes(kX));
  CHECK_OR_FAIL(c.sizes(kXScales).numel() == rows && c.sizes(kXZeros).numel() == rows,
                ErrorKind::InvalidProgram, "scales ", to_string(c.sizes(kXScales)),
                " and zero points ", to_string(c.sizes(kXZeros)), " do not fit the ", rows,
                " rows of x ", to_string(c.sizes(kX)));
  return {};
}

BufferRef emit_rows_quantized(LowerContext& c) {
  using namespace dq8ca;
  if (!c.is_none(kXScales))
    return emit_fake_quantize(c, {.by_row = {{c.value(kXScales), c.value(kXZeros)}}});
  const std::int64_t rows = linear_rows(c.sizes(kX));
  const FakeQuantize::Rows chosen{c.scratch(rows), c.scratch(rows, Storage::I32)};
  if (rows > 0)
    emit_choose_int8_rows(c, c.value(kX), rows, c.sizes(kX).back(), chosen.scales,
                          chosen.zero_points);
  return emit_fake_quantize(c, {.by_row = chosen});
}

Result<void> infer_dq8ca_q4gsw(InferContext& c) {
  using namespace dq8ca;
  TRY(infer_group_part(c, c.sizes(kX), c.integer(kGroup), c.id(kWeight), c.id(kScales),
                       c.optional_id(kBias), c.output_id()));
  return check_rows_quantized(c);
}

Result<void> lower_dq8ca_q4gsw(LowerContext& c) {
  using namespace dq8ca;
  Gemm linear = group_linear(emit_rows_quantized(c), c.sizes(kX), c.integer(kGroup));
  TRY_ASSIGN(linear.parts.emplace_back(),
             group_part(c, c.id(kWeight), c.id(kScales), c.optional_id(kBias),
                        output_width(c, c.output_id())));
  linear.outs = {c.output()};
  return lower_gemm(c, linear);
}

// et_vk.linear_dq8ca_q4gsw_split(.. as above up to G, widths, head widths) -> outputs: the layer's
// columns in runs of these widths, an output each, whose last dimension is cut into heads where
// theirs is not 0.

// [.., N], or [.., N / head, head].
Result<Dims> split_sizes(const Dims& x, std::int64_t width, std::int64_t head) {
  Dims out = x;
  out[x.rank() - 1] = width;
  if (head == 0) return out;
  CHECK_OR_FAIL(head > 0 && width % head == 0 && x.rank() < kMaxRank, ErrorKind::InvalidProgram,
                width, " columns do not divide into heads of ", head);
  out[x.rank() - 1] = width / head;
  out.push_back(head);
  return out;
}

Result<void> infer_split(InferContext& c) {
  using namespace dq8ca;
  const Dims &x = c.sizes(kX), &weight = c.sizes(kWeight);
  TRY_ASSIGN(const std::int64_t depth, depth_of(x));
  TRY(check_group(depth, c.integer(kGroup)));
  const auto widths = c.int_list(kSplits), heads = c.int_list(kHeads);
  const auto outs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(!outs.empty() && widths.size() == outs.size() && heads.size() == outs.size(),
                ErrorKind::InvalidProgram, widths.size(), " widths and ", heads.size(),
                " head widths are given for ", outs.size(), " outputs");
  std::int64_t columns = 0;
  for (std::size_t i = 0; i < outs.size(); ++i) {
    CHECK_OR_FAIL(weight.rank() == 2 && widths[i] > 0 && widths[i] <= weight[0] - columns,
                  ErrorKind::InvalidProgram, "widths ", list_text(widths),
                  " are not those of runs of rows in a weight of sizes ", to_string(weight));
    columns += widths[i];
    TRY_ASSIGN(const Dims sizes, split_sizes(x, widths[i], heads[i]));
    TRY(c.set_sizes(outs[i], sizes));
  }
  TRY(check_nibbles(weight, columns, depth));
  TRY(check_scales(c.sizes(kScales), columns, depth / c.integer(kGroup)));
  return check_rows_quantized(c);
}

Result<void> lower_split(LowerContext& c) {
  using namespace dq8ca;
  const auto widths = c.int_list(kSplits);
  const auto outs = c.value_list(c.output_arg());
  const Gemm whole = group_linear(emit_rows_quantized(c), c.sizes(kX), c.integer(kGroup));
  std::int64_t first = 0;
  for (std::size_t i = 0; i < outs.size(); i += kMostGemmParts) {
    Gemm linear = whole;
    for (std::size_t j = i; j < std::min(i + kMostGemmParts, outs.size()); ++j) {
      TRY_ASSIGN(GemmPart part, group_part(c, c.id(kWeight), c.id(kScales), kNoValue, widths[j]));
      part.weight.first_row = part.scales->first_row = first;
      first += widths[j];
      linear.parts.push_back(std::move(part));
      linear.outs.push_back(c.value_of(outs[j]));
    }
    TRY(lower_gemm(c, linear));
  }
  return {};
}

// --- Several at once, with what surrounds them: see fused.h ---

using namespace fused_linear;

ValueId bias_of(const CallContext& c, std::size_t i) {
  return c.is_none(kBiases) ? kNoValue : c.value_list(kBiases)[i];
}

// The sizes of x as the layer takes it.
Dims taken(const CallContext& c) {
  const Dims& x = c.sizes(kX);
  if (!c.boolean(kLast)) return x;
  const std::size_t rank = c.graph().tensor(c.value_list(kOuts)[0])->bound.rank();
  return rank == 3 ? Dims{1, 1, x.back()} : Dims{1, x.back()};
}

Result<void> infer_fused(InferContext& c) {
  const auto weights = c.value_list(kWeights), scales = c.value_list(kScales),
             outs = c.value_list(kOuts);
  const bool gated = c.boolean(kGated);
  const std::size_t linears = gated ? 2 : outs.size();
  CHECK_OR_FAIL(linears >= 1 && linears <= 3 && weights.size() == linears &&
                    scales.size() == linears && outs.size() == (gated ? 1 : linears) &&
                    (c.is_none(kBiases) || c.value_list(kBiases).size() == linears) &&
                    (c.is_none(kResidual) || outs.size() == 1),
                ErrorKind::Internal, "a fused linear layer has inconsistent lists");
  if (c.boolean(kLast)) TRY(check_last_row(c.sizes(kX)));
  if (!c.is_none(kNorm)) TRY(check_vector("norm weight", c.sizes(kNorm), c.sizes(kX).back()));
  for (std::size_t i = 0; i < linears; ++i) {
    TRY(infer_group_part(c, taken(c), c.integer(kGroup), weights[i], scales[i], bias_of(c, i),
                         outs[gated ? 0 : i]));
  }
  return check_residual(c, kResidual, outs[0], c.boolean(kLast));
}

Result<void> lower_fused(LowerContext& c) {
  const auto weights = c.value_list(kWeights), scales = c.value_list(kScales),
             outs = c.value_list(kOuts);
  Gemm linear = group_linear(c.value(kX), taken(c), c.integer(kGroup));
  if (c.boolean(kLast)) take_last_row(c, linear.x, c.sizes(kX));
  linear.gated = c.boolean(kGated);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t n = output_width(c, outs[linear.gated ? 0 : i]);
    TRY_ASSIGN(linear.parts.emplace_back(), group_part(c, weights[i], scales[i], bias_of(c, i), n));
  }
  for (ValueId out : outs) linear.outs.push_back(c.value_of(out));
  add_residual(c, linear, kResidual, c.boolean(kLast));
  linear.activation = activation_of(c);
  if (!c.is_none(kNorm)) {
    linear.norm_weight = c.value(kNorm);
    linear.norm_eps = c.number(kEps);
  }
  return lower_gemm(c, linear);
}

// --- One scale per output row ---

// The arguments of an operator with per-channel scales [N]; -1 where it has none.
struct ChannelArgs {
  Packing packing;
  std::size_t weight, scales;
  std::optional<std::size_t> bias;
};

Result<void> infer_channels(InferContext& c, const ChannelArgs& args) {
  const Dims &x = c.sizes(0), &weight = c.sizes(args.weight);
  TRY_ASSIGN(const std::int64_t depth, depth_of(x));
  const std::int64_t n = output_width(c, c.output_id());
  if (args.packing == Packing::Q4Panels) {
    TRY(check_nibbles(weight, n, depth));
  } else {
    CHECK_OR_FAIL(weight.rank() == 2 && weight[0] >= n && weight[1] == depth,
                  ErrorKind::InvalidProgram, "weight of sizes ", to_string(weight),
                  " does not hold ", n, " rows of ", depth);
  }
  TRY(check_vector("scales", c.sizes(args.scales), n));
  if (args.bias && !c.is_none(*args.bias)) TRY(check_vector("bias", c.sizes(*args.bias), n));
  TRY_ASSIGN(const Dims sizes, linear_sizes(x, c.bound(c.output_arg()).rank(), n));
  return c.set_output(sizes);
}

// Everything but x, which is read from `x`.
Result<void> lower_channels(LowerContext& c, const ChannelArgs& args, BufferRef x) {
  Gemm linear;
  linear.x = {x};
  linear.rows = linear_rows(c.sizes(0));
  linear.depth = linear.group_size = c.sizes(0).back();
  linear.packing = args.packing;
  GemmPart& part = linear.parts.emplace_back();
  TRY_ASSIGN(part.weight, c.part(args.weight));
  part.weight.high_nibble_first = args.packing == Packing::Q4Panels;
  TRY_ASSIGN(part.scales, c.part(args.scales));
  if (args.bias && !c.is_none(*args.bias)) {
    TRY_ASSIGN(part.bias, c.part(*args.bias));
  }
  part.columns = output_width(c, c.output_id());
  linear.outs = {c.output()};
  return lower_gemm(c, linear);
}

// et_vk.linear_qcs4w(x, weight u8 [N, K/2], scales [N]): value = nibble - 8, the high nibble first
constexpr ChannelArgs kQcs4w{Packing::Q4Panels, 1, 2, std::nullopt};
Result<void> infer_qcs4w(InferContext& c) { return infer_channels(c, kQcs4w); }
Result<void> lower_qcs4w(LowerContext& c) { return lower_channels(c, kQcs4w, c.value(0)); }

// aten._weight_int8pack_mm(x, weight i8 [N, K], scales [N])
constexpr ChannelArgs kInt8{Packing::Q8Panels, 1, 2, std::nullopt};
Result<void> infer_int8(InferContext& c) { return infer_channels(c, kInt8); }
Result<void> lower_int8(LowerContext& c) { return lower_channels(c, kInt8, c.value(0)); }

// et_vk.linear_q8ta_q8csw(x, x scale, x zero point, weight i8 [N, K], weight sums, scales [N], bias
// or None): x is quantized with one scale and zero point, if it is not yet.
constexpr ChannelArgs kQ8{Packing::Q8Panels, 3, 5, 6};
Result<void> infer_q8ta_q8csw(InferContext& c) { return infer_channels(c, kQ8); }

Result<void> lower_q8ta_q8csw(LowerContext& c) {
  const FakeQuantize what{.zero_point = c.bake(c.id(2)), .scale = baked_number(c, 1).value};
  return lower_channels(
      c, kQ8, is_floating(c.dtype(0)) ? emit_fake_quantize(c, what) : emit_dequantize(c, what));
}

constexpr Op kOps[] = {
    {"aten._weight_int8pack_mm.default", "t t t > t", infer_int8, lower_int8},
    {"et_vk.linear_dq8ca_q4gsw.default", "t t? t? t t t i t? > t", infer_dq8ca_q4gsw,
     lower_dq8ca_q4gsw},
    {"et_vk.linear_dq8ca_q4gsw_split.default", "t t? t? t t t i l l > v", infer_split, lower_split},
    {"et_vk.linear_q4gsw.default", "t t t i t? > t", infer_q4gsw, lower_q4gsw},
    {"et_vk.linear_q4gsw_backward.default", "t t t i > t", infer_q4gsw_backward,
     lower_q4gsw_backward},
    {.name = "et_vk.linear_q8ta_q8csw.default",
     .signature = "t f i t t t t? > t",
     .infer = infer_q8ta_q8csw,
     .lower = lower_q8ta_q8csw,
     .takes = {.bytes = args({0})}},
    {"et_vk.linear_qcs4w.default", "t t t > t", infer_qcs4w, lower_qcs4w},
    {.name = fused_linear::kName,
     .signature = "t v v i v? t? f i i t? s? _ _ > v",
     .infer = infer_fused,
     .lower = lower_fused,
     .internal = true},
};

}  // namespace

std::span<const Op> quantized_linear_ops() { return kOps; }

}  // namespace etwebgpu
