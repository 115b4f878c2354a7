// A window that moves over an image, as convolutions and pooling have it along each dimension.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include "ops/arguments.h"

namespace etwebgpu {

// Kernels reckon with places in 32 bits.
inline constexpr std::int64_t kLongestSpan = 1 << 30;

struct Window {
  std::int64_t in = 1, kernel = 1, stride = 1, padding = 0, dilation = 1, out = 1;
  // Elements from its first place to its last.
  std::int64_t span() const { return dilation * (kernel - 1) + 1; }
};

// What kernels that walk windows over images want to know of them.
inline void put_windows(KernelCall& k, const Window& y, const Window& x) {
  k.params({{"in_height", y.in},
            {"in_width", x.in},
            {"out_height", y.out},
            {"out_width", x.out},
            {"stride_y", y.stride},
            {"stride_x", x.stride},
            {"padding_y", y.padding},
            {"padding_x", x.padding},
            {"dilation_y", y.dilation},
            {"dilation_x", x.dilation}});
}

// What a list argument says of dimension `dim` of `dims`: it has an item for each, or one for all.
// An empty list, or none, means the fallback.
inline Result<std::int64_t> window_item(const CallContext& c, std::size_t arg, std::size_t dim,
                                        std::size_t dims, std::int64_t fallback, std::int64_t least,
                                        std::string_view what) {
  constexpr std::int64_t kMost = 1 << 24;
  if (arg >= c.output_arg()) return fallback;
  CHECK_OR_FAIL(!holds_symint(c, arg), ErrorKind::NotSupported, "a ", what,
                " that is computed while the program runs");
  const std::vector<std::int64_t> list = c.int_list(arg);
  if (list.empty()) return fallback;
  CHECK_OR_FAIL(list.size() == dims || list.size() == 1, ErrorKind::InvalidProgram, "a ", what,
                " of ", list_text(list), " does not suit ", dims, " dimensions");
  const std::int64_t value = list[list.size() == 1 ? 0 : dim];
  CHECK_OR_FAIL(value >= least && value <= kMost, ErrorKind::InvalidProgram, "a ", what, " of ",
                list_text(list));
  return value;
}

// Where a convolution has its list arguments.
struct WindowArgs {
  std::size_t stride, padding, dilation, output_padding;
};

// A convolution's window along dimension `dim` of x's last `dims`, and its output there.
inline Result<Window> convolution_window(const CallContext& c, const WindowArgs& args,
                                         std::int64_t kernel, std::size_t dim, std::size_t dims,
                                         bool transposed) {
  const Dims& x = c.sizes(0);
  Window w{.in = x[2 + dim], .kernel = kernel};
  TRY_ASSIGN(w.stride, window_item(c, args.stride, dim, dims, 1, 1, "stride"));
  TRY_ASSIGN(w.padding, window_item(c, args.padding, dim, dims, 0, 0, "padding"));
  TRY_ASSIGN(w.dilation, window_item(c, args.dilation, dim, dims, 1, 1, "dilation"));
  CHECK_OR_FAIL(kernel >= 1 && kernel <= kLongestSpan && w.span() <= kLongestSpan,
                ErrorKind::InvalidProgram, "a kernel of ", kernel, " elements with a dilation of ",
                w.dilation);
  const std::int64_t span = w.span();
  if (transposed) {
    TRY_ASSIGN(const std::int64_t more,
               window_item(c, args.output_padding, dim, dims, 0, 0, "output padding"));
    w.out = (w.in - 1) * w.stride - 2 * w.padding + span + more;
    CHECK_OR_FAIL(w.out >= 0, ErrorKind::InvalidArgument, "an output of ", w.out,
                  " elements follows from x of sizes ", to_string(x), " and a padding of ",
                  w.padding);
    return w;
  }
  CHECK_OR_FAIL(w.in + 2 * w.padding >= span, ErrorKind::InvalidArgument, "a kernel that spans ",
                span, " elements is larger than x of sizes ", to_string(x), " with a padding of ",
                w.padding);
  w.out = (w.in + 2 * w.padding - span) / w.stride + 1;
  return w;
}

}  // namespace etwebgpu
