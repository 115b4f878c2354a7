#include "support/pointwise_convolution.h"

#include "kernels/added_templates.h"
#include "ops/gemm/gemm.h"

namespace etwebgpu::testing {
namespace {

constexpr char kLoad[] = R"wgsl(
// Pixels of images [N, C, H, W] as rows of their channels.
@group(0) @binding(images) var<storage, read> images: array<f32>;
alias Row = u32;  // the pixel in channel 0

fn find_row(row: u32) -> Row {
  return row / params.x_pixels * params.k * params.x_pixels + row % params.x_pixels;
}

fn row_element(row: Row, k: u32) -> f32 {
  return images[row + k * params.x_pixels];
}

fn row_quad(row: Row, quad: u32) -> F4 {
  let k = quad * 4u;
  return F4(row_element(row, k), row_element(row, k + 1u), row_element(row, k + 2u), row_element(row, k + 3u));
}
)wgsl";

constexpr char kStore[] = R"wgsl(
// Rows of channels to pixels of images [N, C, H, W].
@group(0) @binding(planes) var<storage, read_write> planes: array<f32>;

fn store_quad(row: u32, quad: u32, value: F4) {
  let pixel = row / params.out_pixels * params.channels * params.out_pixels + row % params.out_pixels;
#repeat J 4
  if (quad * 4u + ${J}u < params.channels) {
    planes[pixel + (quad * 4u + ${J}u) * params.out_pixels] = value[${J}];
  }
#endrepeat
}
)wgsl";

Result<void> infer(InferContext& c) {
  const Dims &x = c.sizes(0), &weight = c.sizes(1);
  CHECK_OR_FAIL(x.rank() == 4 && weight.rank() == 2 && x[1] == weight[1], ErrorKind::InvalidProgram,
                "x ", to_string(x), " and weight ", to_string(weight));
  return c.set_output({x[0], weight[0], x[2], x[3]});
}

Result<void> lower(LowerContext& c) {
  const Dims& x = c.sizes(0);
  const std::int64_t pixels = x[2] * x[3], channels = c.sizes(1)[0];
  Gemm gemm;
  gemm.rows = x[0] * pixels;
  gemm.depth = x[1];
  gemm.packing = c.dtype(1) == DType::Float16 ? Packing::HalfPanels : Packing::FloatPanels;
  GemmPart& part = gemm.parts.emplace_back();
  TRY_ASSIGN(part.weight, c.part(1));
  if (!c.is_none(2)) {
    TRY_ASSIGN(part.bias, c.part(2));
  }
  part.columns = channels;
  gemm.activation = bounding(static_cast<float>(c.number(3)), static_cast<float>(c.number(4)));
  gemm.x_door = {.fragment = "test_images",
                 .buffers = {{"images", c.value(0)}},
                 .params = {{"x_pixels", pixels}}};
  gemm.out_door = {.fragment = "test_planes",
                   .buffers = {{"planes", c.output()}},
                   .params = {{"out_pixels", pixels}, {"channels", channels}}};
  return lower_gemm(c, gemm);
}

constexpr Op kOp{"test.pointwise_convolution", "t t t? f f > t", infer, lower};

}  // namespace

std::string_view pointwise_convolution() {
  static const bool added =
      add_template("test_images", kLoad) && add_template("test_planes", kStore) && add_op(kOp);
  return added ? kOp.name : "";
}

}  // namespace etwebgpu::testing
