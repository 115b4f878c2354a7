// Which values of a delegate's call are which inputs and outputs of its graph.
#include "plan/call_match.h"

#include <gtest/gtest.h>

#include "support/graph_builder.h"

namespace etwebgpu {
namespace {

using Indices = std::vector<std::size_t>;

TensorInfo tensor(DType dtype, Dims bound) {
  return {.dtype = dtype, .host_dtype = dtype, .bound = bound};
}

PassedValue passed(std::int64_t place, DType dtype, Dims sizes) {
  return {true, dtype, sizes, place};
}

PassedValue integer(std::int64_t place) { return {false, {}, {}, place}; }

// Inputs and outputs of these kinds.
Graph graph_of(std::vector<Value> inputs, std::vector<Value> outputs) {
  testing::GraphBuilder b;
  for (Value& v : inputs) b.as_input(b.value(std::move(v)));
  for (Value& v : outputs) b.output(b.value(std::move(v)));
  return std::move(b.graph);
}

const TensorInfo kMatrix = tensor(DType::Float32, {2, 3});
const TensorInfo kVector = tensor(DType::Float32, {3});
const TensorInfo kPosition = tensor(DType::Int32, {1});

TEST(CallMatch, TakesInputsAndOutputsInOrder) {
  const Graph graph = graph_of({kMatrix, SymInt()}, {kVector});
  const PassedValue call[] = {passed(0, DType::Float32, {2, 3}), integer(1),
                              passed(2, DType::Float32, {3})};
  const auto match = match_call(graph, call, false);
  ASSERT_TRUE(match) << match.error().message;
  EXPECT_EQ(match->inputs, (std::vector<Indices>{{0}, {1}}));
  EXPECT_EQ(match->first_output, 2u);
  EXPECT_EQ(match->outputs, Indices{0});
}

TEST(CallMatch, LeavesUnreadInputsOut) {
  const Graph graph = graph_of({kVector}, {kVector});
  const PassedValue call[] = {integer(2), passed(0, DType::Float32, {3}),
                              passed(3, DType::Float32, {3})};
  const auto match = match_call(graph, call, false);
  ASSERT_TRUE(match) << match.error().message;
  EXPECT_EQ(match->inputs, std::vector<Indices>{{1}});
  EXPECT_EQ(match->outputs, Indices{0});
}

TEST(CallMatch, GivesOneOutputToAllItsCopies) {
  const Graph graph = graph_of({kMatrix}, {kMatrix, kVector});
  const PassedValue call[] = {passed(0, DType::Float32, {2, 3}), passed(1, DType::Float32, {2, 3}),
                              passed(2, DType::Float32, {2, 3}), passed(3, DType::Float32, {3}),
                              passed(4, DType::Float32, {2, 3})};
  const auto match = match_call(graph, call, false);
  ASSERT_TRUE(match) << match.error().message;
  EXPECT_EQ(match->inputs, std::vector<Indices>{{0}});
  EXPECT_EQ(match->outputs, (Indices{0, 0, 1, 0}));
}

TEST(CallMatch, NamesMergedOutputsThatCannotBeToldApart) {
  const Graph graph = graph_of({kMatrix}, {kVector, kVector});
  const PassedValue call[] = {passed(0, DType::Float32, {2, 3}), passed(1, DType::Float32, {3}),
                              passed(2, DType::Float32, {3}), passed(3, DType::Float32, {3})};
  const auto match = match_call(graph, call, false);
  ASSERT_FALSE(match);
  EXPECT_NE(match.error().message.find("output 1 (float32 [3])"), std::string::npos)
      << match.error().message;
}

// Both positions could be the one that is read: the host must see that they are equal.
TEST(CallMatch, ListsEveryCandidateOfAnInput) {
  const Graph graph = graph_of({kPosition, kMatrix, kMatrix}, {kMatrix});
  const PassedValue call[] = {passed(3, DType::Int64, {1}),      passed(1, DType::Float32, {2, 3}),
                              passed(4, DType::Int64, {1}),      passed(2, DType::Float32, {2, 3}),
                              passed(0, DType::Float32, {2, 3}), passed(5, DType::Float32, {2, 3})};
  const auto match = match_call(graph, call, false);
  ASSERT_TRUE(match) << match.error().message;
  EXPECT_EQ(match->inputs, (std::vector<Indices>{{0, 2}, {1, 3}, {3, 4}}));
  EXPECT_EQ(match->first_output, 5u);
}

TEST(CallMatch, OutputsAreNumberedBehindInputs) {
  // By kinds alone value 1 might be a copy of the output.
  const Graph graph = graph_of({kVector}, {kVector});
  const PassedValue call[] = {passed(1, DType::Float32, {3}), passed(0, DType::Float32, {3}),
                              passed(2, DType::Float32, {3})};
  const auto match = match_call(graph, call, false);
  ASSERT_TRUE(match) << match.error().message;
  EXPECT_EQ(match->inputs, (std::vector<Indices>{{0, 1}}));
  EXPECT_EQ(match->first_output, 2u);
}

TEST(CallMatch, InputsMayBeShorterThanTheirBound) {
  const Graph graph = graph_of({kMatrix}, {kMatrix});
  const PassedValue call[] = {passed(0, DType::Float32, {1, 0}), passed(1, DType::Float32, {2, 3})};
  EXPECT_TRUE(match_call(graph, call, false));
}

TEST(CallMatch, HostsMayHaveOtherWidths) {
  const Graph graph = graph_of({kMatrix, kPosition}, {kMatrix});
  const PassedValue call[] = {passed(0, DType::Float16, {2, 3}), passed(1, DType::Int64, {1}),
                              passed(2, DType::Float64, {2, 3})};
  EXPECT_TRUE(match_call(graph, call, false));
}

TEST(CallMatch, AdvisesOnBuffersOnlyWhereItHelps) {
  const Graph graph = graph_of({kMatrix}, {kMatrix, kVector});
  const PassedValue fewer[] = {passed(0, DType::Float32, {2, 3}), passed(1, DType::Float32, {3})};
  const PassedValue other[] = {passed(0, DType::Bool, {2, 3}), passed(1, DType::Float32, {2, 3}),
                               passed(2, DType::Float32, {3})};
  const std::string advice = "alias_buffer_mutations";
  const auto says = [&](std::span<const PassedValue> call, bool aliased) {
    const auto match = match_call(graph, call, aliased);
    return !match && match.error().message.find(advice) != std::string::npos;
  };
  EXPECT_TRUE(says(fewer, false));
  EXPECT_FALSE(says(fewer, true));
  EXPECT_FALSE(says(other, false));
}

TEST(CallMatch, ManyCopiesTakeNoTime) {
  const Graph graph = graph_of({kVector}, std::vector<Value>(20, kVector));
  std::vector<PassedValue> call = {passed(0, DType::Float32, {3})};
  for (std::int64_t i = 1; i <= 400; ++i) call.push_back(passed(i, DType::Float32, {3}));
  EXPECT_FALSE(match_call(graph, call, false));
}

}  // namespace
}  // namespace etwebgpu
