// A 1x1 convolution as a caller of the matrix product brings it: rows come in from, and results
// leave to, images [N, C, H, W]. It shows what a family adds, and that the kernels stay as they
// are.
#pragma once

#include <string_view>

namespace etwebgpu::testing {

// test.pointwise_convolution(x [N, C, H, W], weight [OC, C], bias [OC] or None, low, high) ->
// [N, OC, H, W], clamped. The operator and its two fragments are added on the first call.
std::string_view pointwise_convolution();

}  // namespace etwebgpu::testing
