// Integers that no plan at load can have: SymInts in places where programs mostly have numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "ops/op.h"

namespace etwebgpu {

// By ValueId: SymInts that depend on more than sizes and numbers, so that load knows no value.
std::vector<std::uint8_t> find_unknown_scalars(const Graph& graph, std::span<const Op* const> ops);

// What a call that load cannot make sense of waits for: one of `unknown` among its arguments.
// Without such, it is what `error` says; and a call whose constants have to be laid out at load
// cannot wait.
Result<void> check_may_wait(const Graph& graph, const Call& call,
                            std::span<const std::uint8_t> unknown, Error error);

}  // namespace etwebgpu
