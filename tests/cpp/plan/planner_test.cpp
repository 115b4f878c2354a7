// Which activations lie in one buffer.
#include <gtest/gtest.h>

#include "plan/model.h"

namespace etwebgpu {
namespace {

constexpr std::int64_t kDim = 96;

// a, b = x Wa, x Wb in one dispatch, then y = a * b, and z = b * b if b is read again.
Graph siblings(std::int64_t rows, bool read_again) {
  Graph g;
  const auto tensor = [&] { return g.add(TensorInfo{.bound = {rows, kDim}}); };
  const auto constant = [&](DType dtype, Dims sizes) {
    g.constants.push_back({"weight", 0, 1 << 20});
    return g.add(TensorInfo{.dtype = dtype,
                            .host_dtype = dtype,
                            .bound = sizes,
                            .constant = static_cast<int>(g.constants.size()) - 1});
  };
  const ValueId x = tensor(), a = tensor(), b = tensor(), y = tensor();
  g.inputs = {x};
  for (ValueId out : {a, b}) {
    const ValueId weight = constant(DType::UInt8, {kDim, kDim / 2});
    const ValueId scales = constant(DType::Float32, {kDim / 32, kDim});
    g.calls.push_back({"et_vk.linear_q4gsw.default",
                       {x, weight, scales, g.add(std::int64_t{32}), g.add(std::monostate{}), out}});
  }
  g.calls.push_back({"aten.mul.Tensor", {a, b, y}});
  g.outputs = {y};
  if (!read_again) return g;
  g.outputs.push_back(tensor());
  g.calls.push_back({"aten.mul.Tensor", {b, b, g.outputs.back()}});
  return g;
}

struct Written {
  PlannedBinding a, b;
};

// Where the first dispatch writes.
Written written(Graph graph, std::int64_t rows) {
  auto model = Model::create(std::move(graph), Capabilities{}, ModelOptions{});
  EXPECT_TRUE(model) << model.error().message;
  HostInput input;
  input.sizes = {rows, kDim};
  const auto plan = (*model)->prepare({&input, 1});
  EXPECT_TRUE(plan) << plan.error().message;
  std::vector<PlannedBinding> out;
  const PlannedDispatch& first = (**plan).dispatches[0];
  for (std::uint32_t i = 0; i < first.binding_count; ++i) {
    const PlannedBinding& b = (**plan).bindings[first.first_binding + i];
    if (b.access == Access::ReadWrite) out.push_back(b);
  }
  out.resize(2);
  const std::uint64_t end = out[1].offset + out[1].size;
  EXPECT_GE((**plan).slots[out[1].index], end);
  return {out[0], out[1]};
}

TEST(Planner, WhatTheSameDispatchesReadAndWriteSharesASlot) {
  const auto [a, b] = written(siblings(3, false), 3);
  EXPECT_EQ(a.index, b.index);
  EXPECT_EQ(a.offset, 0u);
  EXPECT_EQ(b.offset, 1280u);  // after 3 x 96 words, where a binding may begin
  EXPECT_EQ(b.size, 1152u);
}

TEST(Planner, WhatIsReadElsewhereOrLargeHasItsOwnSlot) {
  const auto read_again = written(siblings(3, true), 3);
  EXPECT_NE(read_again.a.index, read_again.b.index);
  const auto large = written(siblings(100, false), 100);
  EXPECT_NE(large.a.index, large.b.index);
}

}  // namespace
}  // namespace etwebgpu
