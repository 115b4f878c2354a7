// Convolutions over 8-bit activations, in two dimensions:
//
//   et_vk.q8ta_conv2d.default(x i8 [N, C, H, W], scale, zero point, weight, its sums (ignored),
//                             weight scales, output scale, output zero point, bias [OC] or None,
//                             kernel sizes, stride, padding, dilation, groups, activation)
//       -> i8 [N, OC, OH, OW]
//   et_vk.q8ta_conv2d_pw.default(the same)
//   et_vk.q8ta_conv2d_dw.default(the same)
//   et_vk.q8ta_conv2d_transposed.default(the same with the output padding before the dilation)
//
// A weight is [OC, KH * KW * C / groups], its rows padded to multiples of 4, of a depthwise
// convolution [KH, KW, OC]. Scales and bias may be padded. A transposed one in groups has scales
// for the outputs of one of them. What x is padded with is its zero point.
//
// With one group it is a product of patches (byte_tiles.wgsl), else byte_convolution.wgsl.
#include <algorithm>

#include "ops/bytes/bytes.h"
#include "ops/families.h"
#include "ops/images/window.h"

namespace etwebgpu {
namespace {

enum {
  kX,
  kXScale,
  kXZero,
  kWeight,
  kSums,
  kScales,
  kOutScale,
  kOutZero,
  kBias,
  kKernel,
  kStride,
  kPadding
};

struct Form {
  std::string_view name, signature;
  bool depthwise = false, transposed = false;
  std::size_t dilation() const { return kPadding + (transposed ? 2 : 1); }
  std::size_t groups() const { return dilation() + 1; }
  WindowArgs window() const { return {kStride, kPadding, dilation(), kPadding + 1}; }
  ByteResults results() const {
    return {kXScale, kXZero, kScales, kOutScale, kOutZero, kBias, dilation() + 2};
  }
};

constexpr std::string_view kSignature = "t f i t t t f i t? l l l l i s > t";
constexpr Form kForms[] = {
    {"et_vk.q8ta_conv2d.default", kSignature},
    {"et_vk.q8ta_conv2d_dw.default", kSignature, true},
    {"et_vk.q8ta_conv2d_pw.default", kSignature},
    {"et_vk.q8ta_conv2d_transposed.default", "t f i t t t f i t? l l l l l i s > t", false, true},
};

// Of a call of one of them.
const Form& form_of(const CallContext& c) {
  const Form* form = std::begin(kForms);
  while (form + 1 != std::end(kForms) && form->name != c.call().name) ++form;
  return *form;
}

struct Convolution {
  std::int64_t batch = 0, channels = 0, outputs = 0, groups = 1;
  Window y = {}, x = {};
  std::int64_t in_pixels() const { return y.in * x.in; }
  std::int64_t out_pixels() const { return y.out * x.out; }
  std::int64_t taps() const { return y.kernel * x.kernel; }
  std::int64_t depth() const { return taps() * (channels / groups); }
  std::int64_t scale_count(const Form& form) const {
    return form.transposed ? outputs / groups : outputs;
  }
};

Result<Window> window(const CallContext& c, const Form& form, std::size_t dim) {
  TRY_ASSIGN(const std::int64_t kernel, window_item(c, kKernel, dim, 2, 1, 1, "kernel"));
  return convolution_window(c, form.window(), kernel, dim, 2, form.transposed);
}

Result<Convolution> read(const CallContext& c, const Form& form) {
  const Dims &x = c.sizes(kX), &weight = c.sizes(kWeight);
  CHECK_OR_FAIL(x.rank() == 4, ErrorKind::InvalidProgram, "a convolution of x of sizes ",
                to_string(x), ", where [N, C, H, W] is due");
  CHECK_OR_FAIL(weight.rank() == (form.depthwise ? 3u : 2u), ErrorKind::InvalidProgram,
                "a convolution with a weight of sizes ", to_string(weight));
  Convolution v{.batch = x[0], .channels = x[1], .outputs = weight[form.depthwise ? 2 : 0]};
  v.groups = c.integer(form.groups());
  CHECK_OR_FAIL(v.groups >= 1 && v.groups <= std::max<std::int64_t>(v.channels, 1) &&
                    v.channels % v.groups == 0 && v.outputs % v.groups == 0,
                ErrorKind::InvalidProgram, "a convolution of ", v.channels, " channels to ",
                v.outputs, " in ", v.groups, " groups");
  TRY_ASSIGN(v.y, window(c, form, 0));
  TRY_ASSIGN(v.x, window(c, form, 1));
  CHECK_OR_FAIL(checked_mul(v.taps(), v.channels), ErrorKind::InvalidProgram, "a kernel of [",
                v.y.kernel, ", ", v.x.kernel, "] over ", v.channels, " channels");
  return v;
}

Result<void> check_weight(const CallContext& c, const Form& form, const Convolution& v) {
  if (!form.depthwise) return check_byte_matrix(c, kWeight, v.outputs, v.depth());
  const Dims& weight = c.sizes(kWeight);
  CHECK_OR_FAIL(c.dtype(kWeight) == DType::Int8 && weight[0] == v.y.kernel &&
                    weight[1] == v.x.kernel && v.channels == v.groups,
                ErrorKind::InvalidProgram, "a weight of type ", name(c.dtype(kWeight)),
                " and sizes ", to_string(weight), " is none of a depthwise convolution of ",
                v.channels, " channels in ", v.groups, " groups with a kernel of [", v.y.kernel,
                ", ", v.x.kernel, "]");
  return {};
}

Result<void> infer(InferContext& c) {
  const Form& form = form_of(c);
  TRY_ASSIGN(const Convolution v, read(c, form));
  TRY(check_results(c, form.results(), v.outputs, v.scale_count(form), v.depth()));
  TRY(check_weight(c, form, v));
  return c.set_output({v.batch, v.outputs, v.y.out, v.x.out});
}

// --- One group: rows of patches times a matrix ---

bool sees_whole_image(const Window& w) {
  return w.kernel == 1 && w.stride == 1 && w.padding == 0 && w.out == w.in;
}

GemmDoor pixels(const Convolution& v, BufferRef x) {
  const std::int64_t words = v.in_pixels() / 4;
  return {.fragment = "byte_rows_pixels",
          .buffers = {{"x", x}},
          .params = {{"channels", v.channels},
                     {"image_words", v.channels * words},
                     {"plane_words", words},
                     {"last_quad", v.batch * words - 1}}};
}

GemmDoor patches(const Form& form, const Convolution& v, BufferRef x, std::int64_t zero_point) {
  return {.fragment = "byte_rows_patches",
          .buffers = {{"x", x}},
          .params = {{"channels", v.channels},
                     {"patches", v.out_pixels()},
                     {"patches_wide", v.x.out},
                     {"padding_byte", zero_point & 0xff},
                     {"kernel_width", v.x.kernel},
                     {"in_height", v.y.in},
                     {"in_width", v.x.in},
                     {"stride_y", v.y.stride},
                     {"stride_x", v.x.stride},
                     {"padding_y", v.y.padding},
                     {"padding_x", v.x.padding},
                     {"dilation_y", v.y.dilation},
                     {"dilation_x", v.x.dilation}},
          .defines = {{"ALIGNED", v.channels % 4 == 0 ? 1 : 0},
                      {"TRANSPOSED", form.transposed ? 1 : 0}}};
}

Result<void> lower_product(LowerContext& c, const Form& form, const Convolution& v) {
  const BufferRef x = byte_input(c, kX);
  const bool whole = sees_whole_image(v.y) && sees_whole_image(v.x);
  ByteProduct product{.rows = v.batch * v.out_pixels(),
                      .depth = v.depth(),
                      .columns = v.outputs,
                      .plane_elements = v.out_pixels(),
                      .weight = kWeight};
  if (whole && v.in_pixels() % 4 == 0) {
    product.x = pixels(v, x);
  } else if (whole && v.in_pixels() == 1) {
    product.x = plain_byte_rows(x, product.rows, v.channels);
  } else {
    product.x = patches(form, v, x, c.integer(kXZero));
  }
  return lower_byte_product(c, product, form.results());
}

// --- Several: weight by weight for each output ---

Result<void> lower_direct(LowerContext& c, const Form& form, const Convolution& v) {
  TRY_ASSIGN(const PackedPart part, c.part(kWeight));
  TRY_ASSIGN(const BufferRef weights, c.packed({Packing::Bytes, {part}}));
  const std::int64_t elements = v.batch * v.outputs * v.out_pixels();
  const std::int64_t count = div_up<std::int64_t>(elements, 4), wg = c.workgroup_size(64);
  const std::int64_t channels = v.channels / v.groups;
  const BufferRef x = byte_input(c, kX), out = byte_output(c);
  KernelCall& k = c.emit("byte_convolution");
  k.define("WG", wg).define("SUMS", "i32").define("TRANSPOSED", form.transposed ? 1 : 0);
  k.read("x", x).read("weights", weights);
  TRY(bind_results(c, k, form.results(), v.outputs, v.scale_count(form)));
  k.write("out", out);
  k.params({{"count", count},
            {"elements", elements},
            {"channels", channels},
            {"outputs", v.outputs / v.groups},
            {"groups", v.groups},
            {"w_output", form.depthwise ? 1 : c.sizes(kWeight)[1]},
            {"w_tap", form.depthwise ? v.outputs : channels},
            {"scale_count", v.scale_count(form)},
            {"kernel_height", v.y.kernel},
            {"kernel_width", v.x.kernel}});
  put_windows(k, v.y, v.x);
  k.groups(div_up(count, wg));
  put_output(c, {out, Element::I8});
  return {};
}

Result<void> lower(LowerContext& c) {
  const Form& form = form_of(c);
  TRY_ASSIGN(const Convolution v, read(c, form));
  if (v.batch * v.outputs * v.out_pixels() == 0) return {};
  const bool is_product = v.groups == 1 && !form.depthwise;
  return is_product ? lower_product(c, form, v) : lower_direct(c, form, v);
}

constexpr auto kOps = byte_ops(kForms, infer, lower);

}  // namespace

std::span<const Op> byte_convolution_ops() { return kOps; }

}  // namespace etwebgpu
