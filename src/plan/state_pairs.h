// Which constants of two delegates are one buffer of their program. In the file each delegate has a
// copy of its own, and nothing but equal first contents (or names that our own exporter adds) tells
// that two are the same.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "passes/passes.h"

namespace etwebgpu {

// A constant tensor of a delegate, as far as it may be a state of the program.
struct StateUse {
  ValueId value = kNoValue;
  std::string contents;  // the key of its bytes
  std::string name;      // the exporter's for the buffer, or empty
  DType dtype = DType::Float32;
  Dims dims;
  bool written = false;
};

// Of the constants of a delegate, which may be states of its program. `names`: the exporter's, by
// constant as the file numbers them.
std::vector<StateUse> state_uses(const Graph& graph,
                                 const std::map<std::int32_t, std::string>& names);

// Positions in the two lists.
using StatePairs = std::vector<std::pair<std::size_t, std::size_t>>;

// The uses of two methods that are of one buffer, written by at least one of the two. Named ones
// are the same where their names are. Of the others, those with equal contents, type and sizes come
// in the same order in both; where their numbers differ, which is which cannot be told: an error.
Result<StatePairs> pair_states(std::span<const StateUse> mine, std::span<const StateUse> theirs);

// The same for two delegates of one method, `earlier` and `later` in its order: a buffer that one
// writes and the other only reads has the contents of the call's beginning for the reader, so the
// reader must come first.
Result<StatePairs> pair_within_method(std::span<const StateUse> earlier,
                                      std::span<const StateUse> later);

}  // namespace etwebgpu
