// Pooling over the last two dimensions of x [C, H, W] or [N, C, H, W]:
//
//   aten.max_pool2d.default(x, kernel, stride, padding, dilation, ceil mode) -> out
//   aten.max_pool2d_with_indices.default(the same) -> (out, indices in the plane)
//   aten.avg_pool2d.default(x, kernel, stride, padding, ceil mode, count padding, divisor or None)
//
// An empty stride is the kernel's; lists may have one item for both dimensions.
#include <limits>
#include <string>

#include "ops/families.h"
#include "ops/images/window.h"
#include "ops/op.h"

namespace etwebgpu {
namespace {

enum class Pooling : std::uint8_t { Max, MaxWithIndices, Average };

struct Windows {
  Window y, x;
};

// Arguments of the two kinds.
struct Arguments {
  std::size_t kernel = 1, stride = 2, padding = 3;
  std::optional<std::size_t> dilation;
  std::size_t ceil_mode;
};
constexpr Arguments kMaxArguments{.dilation = 4, .ceil_mode = 5};
constexpr Arguments kAverageArguments{.dilation = std::nullopt, .ceil_mode = 4};
enum { kCountPadding = 5, kDivisor = 6 };

bool ceils(const CallContext& c, const Arguments& args) {
  return args.ceil_mode < c.output_arg() && c.boolean(args.ceil_mode);
}

Result<Window> window(const CallContext& c, const Arguments& args, std::size_t dim) {
  const Dims& x = c.sizes(0);
  Window w{.in = x[x.rank() - 2 + dim]};
  TRY_ASSIGN(w.kernel, window_item(c, args.kernel, dim, 2, 0, 1, "kernel"));
  TRY_ASSIGN(w.stride, window_item(c, args.stride, dim, 2, w.kernel, 1, "stride"));
  TRY_ASSIGN(w.padding, window_item(c, args.padding, dim, 2, 0, 0, "padding"));
  if (args.dilation) {
    TRY_ASSIGN(w.dilation, window_item(c, *args.dilation, dim, 2, 1, 1, "dilation"));
  }
  const std::int64_t span = w.span();
  CHECK_OR_FAIL(w.kernel >= 1 && span <= kLongestSpan && 2 * w.padding <= span,
                ErrorKind::InvalidProgram, "a padding of ", w.padding,
                " is more than half of a window that spans ", span, " elements");
  const std::int64_t room = w.in + 2 * w.padding - span;
  CHECK_OR_FAIL(room >= 0 || (ceils(c, args) && room > -w.stride), ErrorKind::InvalidArgument,
                "a window that spans ", span, " elements is larger than x of sizes ", to_string(x),
                " with a padding of ", w.padding);
  w.out = (room + (ceils(c, args) ? w.stride - 1 : 0)) / w.stride + 1;
  // The last window begins within x or its padding before it.
  if (ceils(c, args) && (w.out - 1) * w.stride >= w.in + w.padding) --w.out;
  return w;
}

Result<Windows> read(const CallContext& c, Pooling pooling) {
  const Arguments& args = pooling == Pooling::Average ? kAverageArguments : kMaxArguments;
  const Dims& x = c.sizes(0);
  CHECK_OR_FAIL(x.rank() == 3 || x.rank() == 4, ErrorKind::InvalidProgram, "pooling of x of sizes ",
                to_string(x));
  CHECK_OR_FAIL(is_floating(c.dtype(0)), ErrorKind::NotSupported, "pooling of ", name(c.dtype(0)));
  CHECK_OR_FAIL(pooling != Pooling::Average || kDivisor >= c.output_arg() || c.is_none(kDivisor) ||
                    c.number(kDivisor) != 0,
                ErrorKind::InvalidProgram, "a mean that is divided by 0");
  Windows v;
  TRY_ASSIGN(v.y, window(c, args, 0));
  TRY_ASSIGN(v.x, window(c, args, 1));
  return v;
}

template <Pooling kPooling>
Result<void> infer(InferContext& c) {
  TRY_ASSIGN(const Windows v, read(c, kPooling));
  const auto outputs = c.value_list(c.output_arg());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const DType dtype = c.graph().tensor(outputs[i])->dtype;
    CHECK_OR_FAIL(is_floating(dtype) == (i == 0), ErrorKind::InvalidProgram, "output ", i,
                  " of a pooling is ", name(dtype));
  }
  Dims out = c.sizes(0);
  out[out.rank() - 2] = v.y.out;
  out[out.rank() - 1] = v.x.out;
  if constexpr (kPooling != Pooling::MaxWithIndices) return c.set_output(out);
  CHECK_OR_FAIL(outputs.size() == 2, ErrorKind::InvalidProgram,
                "a pooling with indices has 2 outputs, not ", outputs.size());
  TRY(c.set_sizes(outputs[0], out));
  return c.set_sizes(outputs[1], out);
}

template <Pooling kPooling>
Result<void> lower(LowerContext& c) {
  TRY_ASSIGN(const Windows v, read(c, kPooling));
  const Dims& x = c.sizes(0);
  const std::int64_t count = x.product(0, x.rank() - 2) * v.y.out * v.x.out;
  if (count == 0) return {};
  const std::int64_t wg = c.workgroup_size(64);
  KernelCall& k = c.emit(kPooling == Pooling::Average ? "average_pool" : "max_pool");
  k.define("WG", wg).read("x", c.value(0));
  const auto outputs = c.value_list(c.output_arg());
  k.write("out", c.value_of(outputs[0]));
  k.params({{"count", count},
            {"in_height", v.y.in},
            {"in_width", v.x.in},
            {"out_height", v.y.out},
            {"out_width", v.x.out},
            {"kernel_y", v.y.kernel},
            {"kernel_x", v.x.kernel},
            {"stride_y", v.y.stride},
            {"stride_x", v.x.stride},
            {"padding_y", v.y.padding},
            {"padding_x", v.x.padding}});
  if constexpr (kPooling == Pooling::Average) {
    const bool counts_padding = kCountPadding >= c.output_arg() || c.boolean(kCountPadding);
    const bool divides = kDivisor < c.output_arg() && !c.is_none(kDivisor);
    k.define("COUNT_PADDING", counts_padding ? 1 : 0).define("DIVISOR", divides ? 1 : 0);
    if (divides) k.param("divisor", c.number(kDivisor));
  } else {
    k.define("INDICES", kPooling == Pooling::MaxWithIndices ? 1 : 0);
    k.params({{"dilation_y", v.y.dilation},
              {"dilation_x", v.x.dilation},
              {"none", -std::numeric_limits<double>::infinity()}});
    if (kPooling == Pooling::MaxWithIndices) k.write("indices", c.value_of(outputs[1]));
  }
  k.groups(div_up(count, wg));
  return {};
}

constexpr Op kOps[] = {
    {"aten.avg_pool2d.default", "t l [l? l i i f?] > t", infer<Pooling::Average>,
     lower<Pooling::Average>},
    {"aten.max_pool2d.default", "t l [l? l l i] > t", infer<Pooling::Max>, lower<Pooling::Max>},
    {"aten.max_pool2d_with_indices.default", "t l [l? l l i] > v", infer<Pooling::MaxWithIndices>,
     lower<Pooling::MaxWithIndices>},
};

}  // namespace

std::span<const Op> pool_ops() { return kOps; }

}  // namespace etwebgpu
