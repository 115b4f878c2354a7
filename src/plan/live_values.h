// How a plan's live scalars follow from what a call brings, for executors without the core: found
// by trying, so that no operator's arithmetic is written down a second time.
//
// Values that a plan depends on are SymInt inputs and elements that are read on the host (a
// position). Each scalar is taken for a sum of them with factors; how far that holds, and the plan
// with it, is what prepare() says of other values: of every one near those given, then of ever
// further ones, and of those around the first that does not hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "plan/model.h"

namespace etwebgpu {

// A number that comes with a call.
struct LiveValue {
  std::size_t input = 0;
  std::int64_t element = -1;         // of a tensor; -1: the input is a SymInt
  std::int64_t least = 0, most = 0;  // the plan holds for these
};

// base + the sum of factors[i] * values[i].
struct LiveScalar {
  std::int64_t base = 0;
  std::vector<std::int64_t> factors;
};

struct LiveValues {
  std::vector<LiveValue> values;    // those that make a difference
  std::vector<LiveScalar> scalars;  // by slot
};

// For the plan of these inputs, which prepare() has accepted and which it has afterwards.
Result<LiveValues> find_live_values(Model& model, std::span<const HostInput> inputs,
                                    bool wide_integers);

// "values": [{"input", "element" or null, "least", "most"}], "scalars": [{"base", "factors"}]
void write_live_values(JsonWriter& json, const LiveValues& live);

}  // namespace etwebgpu
