// What fusions of products have in common.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "passes/graph_index.h"

namespace etwebgpu {

// A fused call over the given plain 4-bit linear calls, without prologue or epilogue.
Call fused_group_linear(Graph& graph, const GraphIndex& index,
                        std::span<const std::int32_t> linears, bool gated,
                        std::vector<ValueId> outs);

// A linear layer gives its output the leading sizes of x: the two must have them in common.
bool follows_input(const Graph& graph, const Call& linear, ValueId out);

// See fuse_epilogue.cpp.
void fuse_epilogues(Graph& graph, std::span<const std::uint8_t> written_elsewhere);

}  // namespace etwebgpu
