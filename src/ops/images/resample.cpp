// Operators that read planes at computed positions: upsample, grid_sampler_2d; and the positions of
// a detector's grid (grid_priors).
#include <cmath>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"

namespace etwebgpu {
namespace {

constexpr std::uint32_t kWorkgroup = 64;

// --- upsample_*.vec: sizes from a list of two integers, else from two scale factors ---

std::vector<double> scale_factors(const CallContext& c, std::size_t arg) {
  const auto* list = std::get_if<DoubleList>(&c.graph().value(c.id(arg)));
  return list ? list->items : std::vector<double>();
}

// Elements of the source per element of the output.
double source_scale(const CallContext& c, std::size_t scales_arg, std::size_t axis, bool aligned) {
  const std::size_t d = c.sizes(0).rank() - 2 + axis;
  const auto in = static_cast<double>(c.sizes(0)[d]);
  const auto out = static_cast<double>(c.sizes_of(c.output_id())[d]);
  if (aligned) return out > 1 ? (in - 1) / (out - 1) : 0;
  const auto factors = scale_factors(c, scales_arg);
  const bool given = factors.size() == 2 && factors[axis] > 0;
  return given ? 1 / factors[axis] : in / out;
}

template <std::size_t scales_arg>
Result<void> infer_upsample(InferContext& c) {
  Dims out = c.sizes(0);
  CHECK_OR_FAIL(out.rank() == 4, ErrorKind::InvalidProgram, "sizes ", to_string(out),
                " are not those of an image");
  if (c.at_load() && holds_symint(c, 1)) return c.set_output(bound_of(c, c.output_id()));
  const auto sizes = c.int_list(1);
  const auto factors = scale_factors(c, scales_arg);
  CHECK_OR_FAIL(sizes.size() == 2 || (sizes.empty() && factors.size() == 2),
                ErrorKind::InvalidProgram, "two sizes or two scale factors are needed, found ",
                sizes.size(), " and ", factors.size());
  for (std::size_t axis = 0; axis < 2; ++axis) {
    std::int64_t& extent = out[2 + axis];
    const std::int64_t from = extent;
    const double scaled = sizes.empty() ? std::floor(static_cast<double>(from) * factors[axis])
                                        : static_cast<double>(sizes[axis]);
    CHECK_OR_FAIL(scaled >= 0 && scaled < 2147483648.0 && (from > 0 || scaled == 0),
                  ErrorKind::InvalidArgument, "an extent of ", from, " cannot become ", scaled);
    extent = static_cast<std::int64_t>(scaled);
  }
  return c.set_output(out);
}

void emit_upsample(LowerContext& c, std::string_view mode, bool aligned, std::size_t scales_arg) {
  const Dims &in = c.sizes(0), &out = c.sizes_of(c.output_id());
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& call = c.emit("upsample");
  call.define("WG", wg).define("MODE", mode).define("ALIGNED", aligned ? 1 : 0);
  call.read("src", c.value(0)).write("out", c.output());
  call.params({{"count", out.numel()},
               {"in_height", in[2]},
               {"in_width", in[3]},
               {"out_height", out[2]},
               {"out_width", out[3]},
               {"scale_y", source_scale(c, scales_arg, 0, aligned)},
               {"scale_x", source_scale(c, scales_arg, 1, aligned)}});
  call.groups(div_up<std::int64_t>(out.numel(), wg));
}

Result<void> lower_nearest(LowerContext& c) {
  emit_upsample(c, "nearest", false, 2);
  return {};
}

Result<void> lower_bilinear(LowerContext& c) {
  emit_upsample(c, "bilinear", c.boolean(2), 3);
  return {};
}

// --- grid_sampler_2d(input, grid, interpolation, padding, align_corners) ---

Result<void> infer_grid_sampler(InferContext& c) {
  const Dims &in = c.sizes(0), &grid = c.sizes(1);
  CHECK_OR_FAIL(c.integer(2) == 0 && c.integer(3) == 1 && c.boolean(4), ErrorKind::NotSupported,
                "interpolation ", c.integer(2), " with padding ", c.integer(3),
                ": only bilinear (0) with border padding (1) and aligned corners is supported");
  CHECK_OR_FAIL(in.rank() == 4 && grid.rank() == 4 && grid[3] == 2 && grid[0] == in[0],
                ErrorKind::InvalidArgument, "a grid of sizes ", to_string(grid),
                " does not fit sizes ", to_string(in));
  CHECK_OR_FAIL(in[2] > 0 && in[3] > 0, ErrorKind::InvalidArgument, "sizes ", to_string(in),
                " have nothing to sample");
  return c.set_output(Dims{in[0], in[1], grid[1], grid[2]});
}

Result<void> lower_grid_sampler(LowerContext& c) {
  const Dims &in = c.sizes(0), &out = c.sizes_of(c.output_id());
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& call = c.emit("grid_sample");
  call.define("WG", wg);
  call.read("src", c.value(0)).read("grid", c.value(1)).write("out", c.output());
  call.params({{"count", out.numel()},
               {"channels", in[1]},
               {"in_height", in[2]},
               {"in_width", in[3]},
               {"points", out[2] * out[3]}});
  call.groups(div_up<std::int64_t>(out.numel(), wg));
  return {};
}

// --- grid_priors(x, stride, offset): ((column + offset) * stride, (row + offset) * stride) ---

Result<void> infer_grid_priors(InferContext& c) {
  const Dims& in = c.sizes(0);
  CHECK_OR_FAIL(in.rank() >= 2, ErrorKind::InvalidProgram, "sizes ", to_string(in),
                " are not those of an image");
  return c.set_output(Dims{in[in.rank() - 2] * in.back(), 2});
}

Result<void> lower_grid_priors(LowerContext& c) {
  const Operand width = literal_operand(static_cast<double>(c.sizes(0).back()), Element::U32);
  const Elementwise what{
      .expression = "(f32(select(i / 2u / a, i / 2u % a, i % 2u == 0u)) + x) * y",
      .x = baked_number(c, 2),
      .y = baked_number(c, 1)};
  const Loops loops{{c.sizes_of(c.output_id()).numel()}};
  emit_elementwise(c, what, {&width, 1}, loops, output_elements(c));
  return {};
}

constexpr Op kOps[] = {
    {"aten.grid_sampler_2d.default", "t t i i i > t", infer_grid_sampler, lower_grid_sampler},
    {"aten.upsample_bilinear2d.vec", "t l? i _ > t", infer_upsample<3>, lower_bilinear},
    {"aten.upsample_nearest2d.vec", "t l? _ > t", infer_upsample<2>, lower_nearest},
    {"et_vk.grid_priors.default", "t f f > t", infer_grid_priors, lower_grid_priors},
};

}  // namespace

std::span<const Op> resample_ops() { return kOps; }

}  // namespace etwebgpu
