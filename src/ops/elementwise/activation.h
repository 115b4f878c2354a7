// Functions of one element that kernels of other families apply to their results
// (parts/activation.wgsl): those of the unary operators.
#pragma once

#include <optional>
#include <string_view>

#include "ops/op.h"

namespace etwebgpu {

struct Activation {
  std::string_view expression;    // WGSL in a, x and y
  std::string_view library = {};  // section of elementwise_math.wgsl
  float x = 0, y = 0;
};

// What a unary operator does to a float, given what follows its tensor, or kNoValue. Null if it is
// no such function, or not one of numbers that the file has and floats can hold.
std::optional<Activation> find_activation(const Graph& graph, std::string_view op, ValueId first,
                                          ValueId second);

// Results below `lowest` become that, those above `highest` that; NaN stays. Null without a bound.
std::optional<Activation> bounding(std::optional<float> lowest, std::optional<float> highest);

// Has a kernel apply it to its results.
void apply(KernelCall& k, const Activation& activation);

// Has a kernel know what the expression needs. A kernel knows one library.
void use_library(KernelCall& k, const Activation& activation);
constexpr bool share_library(const Activation& a, const Activation& b) {
  return a.library.empty() || b.library.empty() || a.library == b.library;
}

}  // namespace etwebgpu
