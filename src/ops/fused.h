// Arguments of operators, by position, where passes make the calls that families lower: written
// once for both.
#pragma once

#include <cstddef>
#include <string_view>

namespace etwebgpu {

// aten.convolution(x, weight, bias or None, ...) -> out
namespace convolution {
inline constexpr std::string_view kName = "aten.convolution.default";
// With bounds of its results, or None.
inline constexpr std::string_view kClampedName = "et_vk.conv_with_clamp.default";
// With an epilogue instead, as below.
inline constexpr std::string_view kFusedName = "fused.convolution";
enum {
  kX,
  kWeight,
  kBias,
  kStride,
  kPadding,
  kDilation,
  kTransposed,
  kOutputPadding,
  kGroups,
  kLowest,
  kHighest
};
}  // namespace convolution

// Products that take what follows them into their results: y = f(product + residual). A fused call
// has the product's first `inputs` arguments, and then those below.
struct FusedProduct {
  std::string_view product, fused;
  std::size_t inputs;
};
inline constexpr FusedProduct kFusedProducts[] = {
    {convolution::kName, convolution::kFusedName, 9},
    {"aten.linear.default", "fused.linear", 3},
    {convolution::kClampedName, convolution::kFusedName, 9},
};

// The last arguments of a fused product, counted from the end.
namespace epilogue {
enum {
  kOut = 1,
  kSecond,      // and the second, or None
  kFirst,       // what the operator takes after its tensor, or None
  kActivation,  // name of a unary operator, or None
  kResidual,    // or None
  kCount = kResidual
};
}  // namespace epilogue

// A depthwise convolution and the pointwise one behind it: the first one's arguments up to its
// groups, a function of its results, and the second's weight, bias and epilogue.
namespace depthwise_pointwise {
inline constexpr std::string_view kName = "fused.depthwise_pointwise";
enum {
  // Name of a unary operator, or None, and what it takes after its tensor.
  kFunction = convolution::kGroups + 1,
  kFirst,
  kSecond,
  kPointwiseWeight,  // [OC, C, 1, 1]
  kPointwiseBias,    // or None
};
}  // namespace depthwise_pointwise

// x * sigmoid(x), of floats.
namespace times_sigmoid {
inline constexpr std::string_view kName = "fused.times_sigmoid";
}  // namespace times_sigmoid

// et_vk.linear_q4gsw(x, weight u8 [N, K/2], scales [K/G, N], G, bias or None) -> out
namespace linear_q4gsw {
inline constexpr std::string_view kName = "et_vk.linear_q4gsw.default";
enum { kX, kWeight, kScales, kGroup, kBias, kOut };
}  // namespace linear_q4gsw

// One to three linear_q4gsw on one x, each with its output; or with `gated` the two of silu(gate) *
// up with one output. Lists of values; all linears have a bias or none has. `residual` has the
// sizes of the only output. With `last` x is [1, S, K] and only its last row is taken, as [1, K] or
// [1, 1, K] by the output's rank; of a residual of several rows too.
namespace fused_linear {
inline constexpr std::string_view kName = "fused.linear_q4gsw";
enum {
  kX,
  kWeights,
  kScales,
  kGroup,
  kBiases,  // or None
  kNorm,    // weight of an rms norm of x before, or None
  kEps,
  kGated,
  kLast,
  kResidual,  // or None, and the rest of an epilogue: not with kGated
  kActivation,
  kFirst,
  kSecond,
  kOuts,
};
}  // namespace fused_linear

// et_vk.sdpa, whose operands may lie by strides (ops/movement/strided.h) and whose output may be
// permuted. Made of et_vk.sdpa, or of a softmax between two products.
namespace fused_sdpa {
inline constexpr std::string_view kName = "fused.sdpa";
enum {
  kQ,
  kK,
  kV,
  kMask,        // or None
  kScale,       // or None
  kTransposed,  // k is [.., head dim, keys]
  kOrder,       // the output's permutation, or None
  // Sizes that views in the program give q, k, v, the scores, the weights and the output between
  // its calls, or None: those that the attention itself has, or the call fails.
  kQSizes,
  kKSizes,
  kVSizes,
  kScoreSizes,
  kWeightSizes,
  kOutSizes,
  kOut,
};
}  // namespace fused_sdpa

// Attention over a cache of rows that a rotary embedding turns first. Its tables are whole; `row`
// is where the queries' begin.
namespace fused_attention {
inline constexpr std::string_view kName = "fused.rope_sdpa";
enum {
  kQ,
  kK,
  kV,
  kKCache,
  kVCache,
  kStart,
  kMask,
  kCausal,
  kScale,
  kCos,
  kSin,
  kRow,
  kHalves,  // the form of the embedding: halves of a row turn together, else neighbours
  kOut,
};
// With a linear_q4gsw behind it, whose arguments take the output's place.
inline constexpr std::string_view kProjectedName = "fused.rope_sdpa_q4gsw";
enum {
  kProjection = kOut,
  kProjectionScales,
  kProjectionGroup,
  kProjectionBias,
  kProjectionResidual,
  kProjectionLast,
};
}  // namespace fused_attention

}  // namespace etwebgpu
