// Which of the values that a program passes to a delegate's call belong to which of the graph's
// inputs and outputs. The exporter leaves inputs that no operator reads out of the graph, and
// merges outputs that are copies of each other; the call still has them all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"

namespace etwebgpu {

// A value of the call, as far as it is known before anything runs.
struct PassedValue {
  bool is_tensor = false;  // else an integer, or nothing yet
  DType dtype = DType::Float32;
  Dims sizes;  // live ones of an input, the recorded bound of an output
  // Its position among all values of the program. The outputs of a call are numbered one after
  // another, behind everything that was made before.
  std::int64_t place = 0;
};

// "float32 [2, 3]", or "an integer".
std::string describe(const PassedValue& value);

struct CallMatch {
  // By input of the graph: positions of the passed values that it may be, usually one. Several
  // cannot be told apart: the call is right where they are equal.
  std::vector<std::vector<std::size_t>> inputs;
  std::size_t first_output = 0;      // position of the first output among the passed values
  std::vector<std::size_t> outputs;  // by passed output: the graph's output that it gets
};

// Inputs come in the graph's order, with unread ones between; then outputs, in the order of the
// graph's where each appears first. Of several ways the one with fewest unread inputs is taken.
// `aliased`: the program was exported with alias_buffer_mutations, so that no new contents of a
// buffer are among the outputs. Fails if the values fit in no way, or if it cannot be told which
// outputs were merged.
Result<CallMatch> match_call(const Graph& graph, std::span<const PassedValue> passed, bool aliased);

}  // namespace etwebgpu
