#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace etwebgpu {

// An operator that this runtime does not have.
struct MissingOperator {
  std::string_view name;
  std::vector<std::size_t> calls;  // of the graph, by number
};

// Each once, in the order of their first calls.
std::vector<MissingOperator> missing_operators(const Graph& graph);

// Says all of them, with their places and how a program is exported without: who has to do without
// one wants to know whether it is the only one.
std::string describe(const std::vector<MissingOperator>& missing);

}  // namespace etwebgpu
