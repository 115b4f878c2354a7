// What is said of operators that are not there.
#include "plan/missing_operators.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/graph_builder.h"

namespace etwebgpu {
namespace {

using Calls = std::vector<std::size_t>;

// A graph of calls with these names.
Graph calling(const std::vector<std::string>& names) {
  testing::GraphBuilder g;
  for (const std::string& name : names) g.call(name, {g.tensor({4})}, {4});
  return std::move(g.graph);
}

std::string described(const std::vector<std::string>& names) {
  return describe(missing_operators(calling(names)));
}

TEST(MissingOperators, NoneOfThoseThatAreThere) {
  EXPECT_TRUE(missing_operators(Graph{}).empty());
  EXPECT_TRUE(missing_operators(calling({"aten.sigmoid.default", "aten.relu.default"})).empty());
}

TEST(MissingOperators, EachOnceInTheOrderOfFirstCallsWithAllOfThem) {
  const Graph graph =
      calling({"made.up.b", "aten.relu.default", "made.up.a", "made.up.b", "aten.relu.default"});
  const auto missing = missing_operators(graph);
  ASSERT_EQ(missing.size(), 2u);
  EXPECT_EQ(missing[0].name, "made.up.b");
  EXPECT_EQ(missing[0].calls, (Calls{0, 3}));
  EXPECT_EQ(missing[1].name, "made.up.a");
  EXPECT_EQ(missing[1].calls, (Calls{2}));
}

// A known operator's other overload is another operator.
TEST(MissingOperators, NamesAreWhole) {
  const auto missing = missing_operators(calling({"aten.relu.other", "aten.relu", ""}));
  EXPECT_EQ(missing.size(), 3u);
}

TEST(MissingOperators, AnOperatorIsLeftOutByItsName) {
  EXPECT_EQ(
      described({"aten.relu.default", "made.up"}),
      "operators that are not supported: made.up (call 1); export it again with made.up in the "
      "partitioner's operator_blocklist, which leaves them to ExecuTorch");
}

TEST(MissingOperators, WhatTheExporterMakesIsLeftOutByItsModule) {
  EXPECT_EQ(described({"et_vk.made_up"}),
            "operators that are not supported: et_vk.made_up (call 0); export it again with the "
            "modules that compute et_vk.made_up in the partitioner's nn_module_blocklist, which "
            "leaves them to ExecuTorch");
}

TEST(MissingOperators, BothKindsAreNamedWithTheirWays) {
  EXPECT_EQ(described({"et_vk.one", "made.up", "et_vk.two", "other.one", "made.up"}),
            "operators that are not supported: et_vk.one (call 0), made.up (calls 1, 4), et_vk.two "
            "(call 2), other.one (call 3); export it again with made.up, other.one in the "
            "partitioner's operator_blocklist and the modules that compute et_vk.one, et_vk.two in "
            "the partitioner's nn_module_blocklist, which leaves them to ExecuTorch");
}

TEST(MissingOperators, ManyPlacesAreCounted) {
  const auto places = [](std::size_t calls) {
    const std::string text = described(std::vector<std::string>(calls, "made.up"));
    return text.substr(0, text.find(';'));
  };
  const std::string named = "operators that are not supported: made.up (calls 0, 1, 2, 3";
  EXPECT_EQ(places(4), named + ")");
  EXPECT_EQ(places(5), named + " and 1 more)");
  EXPECT_EQ(places(9), named + " and 5 more)");
}

}  // namespace
}  // namespace etwebgpu
