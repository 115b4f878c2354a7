// Small integer arithmetic on the host: what a position, a size or an index that the host must know
// is computed from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {

using HostElements = std::vector<std::int64_t>;

// What operators that read elements on the host need there.
struct HostReads {
  std::vector<std::uint8_t> inputs;  // by position: an input whose elements are read
  std::vector<ValueId> constants;    // whose elements are read
  std::vector<std::uint8_t> calls;   // by call: evaluate() makes its output
  std::vector<std::uint8_t> only;    // by call: and no call on the device reads it
};

// Fails for what is more than arithmetic with integers of inputs and constants.
Result<HostReads> find_host_reads(const Graph& graph, std::span<const Op* const> ops,
                                  const Aliasing& aliasing);

// The elements of the call's output, of its live sizes, from those of its arguments: `elements` by
// ValueId of a value's storage. Integers wrap in 64 bits, as PyTorch's do.
Result<HostElements> evaluate(const Graph& graph, const Call& call, const LiveState& live,
                              std::span<const ValueId> storage,
                              std::span<const HostElements> elements);

}  // namespace etwebgpu
