// Where activations lie, and what becomes of calls that write what they read.
#include <gtest/gtest.h>

#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kDim = 96;

// a, b = x Wa, x Wb in one dispatch, then y = a * b, and z = b * b if b is read again.
Graph siblings(std::int64_t rows, bool read_again) {
  GraphBuilder g;
  const ValueId x = g.input({rows, kDim}), a = g.linear(x, kDim), b = g.linear(x, kDim);
  g.output(g.multiply(a, b));
  if (read_again) g.output(g.multiply(b, b));
  return std::move(g.graph);
}

std::vector<PlannedBinding> bound_for(Access access, const Plan& plan, std::size_t dispatch) {
  std::vector<PlannedBinding> out;
  for (const PlannedBinding& b : bindings(plan, dispatch)) {
    const bool in_memory = b.space != Space::Uniforms && b.space != Space::Scalars;
    if (in_memory && b.access == access) out.push_back(b);
  }
  return out;
}

struct Written {
  PlannedBinding a, b;
};

// Where the first dispatch writes.
Written written(Graph graph, std::int64_t rows) {
  const auto model = compile(std::move(graph));
  const HostInput input = host_input({rows, kDim});
  const Plan& plan = *plan_at(*model, {&input, 1});
  auto out = bound_for(Access::ReadWrite, plan, 0);
  out.resize(2);
  const std::uint64_t end = out[1].offset + out[1].size;
  EXPECT_GE(plan.slots[out[1].index], end);
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

bool same_place(const PlannedBinding& a, const PlannedBinding& b) {
  return a.space == b.space && a.index == b.index && a.offset == b.offset && a.size == b.size;
}

// The sum goes to a slot of its own, from which a second dispatch copies it to where it belongs.
void expect_redirected(const Model& model, const Plan& plan, Space home) {
  ASSERT_EQ(kernel_names(model, plan), (Names{"elementwise", "move"}));
  const auto sum = bound_for(Access::ReadWrite, plan, 0), read = bound_for(Access::Read, plan, 0);
  const auto to = bound_for(Access::ReadWrite, plan, 1), from = bound_for(Access::Read, plan, 1);
  ASSERT_TRUE(sum.size() == 1 && read.size() == 2 && to.size() == 1 && from.size() == 1);
  EXPECT_EQ(sum[0].space, Space::Slot);
  EXPECT_TRUE(same_place(sum[0], from[0]));
  EXPECT_EQ(to[0].space, home);
  EXPECT_TRUE(same_place(to[0], read[0]));
  EXPECT_FALSE(same_place(to[0], from[0]));
  EXPECT_FALSE(same_place(read[1], sum[0]))
      << "the other operand is alive while the sum is written";
  EXPECT_EQ(plan.outputs[0].space, home);
  EXPECT_EQ(plan.outputs[0].index, to[0].index);
}

TEST(Planner, AStateThatIsReadAndWrittenByOneCallIsCopiedBack) {
  GraphBuilder b;
  const ValueId state = b.constant({8}), x = b.input({8});
  b.output(b.call("aten.add.Tensor", {state, x, b.number(1)}, state));
  const auto model = compile(std::move(b.graph));
  const HostInput input = host_input({8});
  expect_redirected(*model, *plan_at(*model, {&input, 1}), Space::State);
}

TEST(Planner, AnInputThatIsReadAndWrittenByOneCallIsCopiedBack) {
  GraphBuilder b;
  const ValueId x = b.input({8}), y = b.input({8});
  b.output(b.call("aten.add.Tensor", {x, y, b.number(1)}, x));
  const auto model = compile(std::move(b.graph));
  const HostInput inputs[] = {host_input({8}), host_input({8})};
  expect_redirected(*model, *plan_at(*model, inputs), Space::Slot);
}

TEST(Planner, AStateThatIsOnlyWrittenIsWrittenWhereItIs) {
  GraphBuilder b;
  const ValueId state = b.constant({8}), x = b.input({8}), y = b.input({8});
  b.output(b.call("aten.add.Tensor", {x, y, b.number(1)}, state));
  const auto model = compile(std::move(b.graph));
  const HostInput inputs[] = {host_input({8}), host_input({8})};
  const Plan& plan = *plan_at(*model, inputs);
  EXPECT_EQ(kernel_names(*model, plan), Names{"elementwise"});
  EXPECT_EQ(bound_for(Access::ReadWrite, plan, 0)[0].space, Space::State);
}

}  // namespace
}  // namespace etwebgpu::testing
