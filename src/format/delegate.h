// The delegate blob: a header (magic VH00), the graph as a flatbuffer (identifier VK00), and
// constant bytes. Nothing in it is trusted: decode_delegate() returns a Graph whose ids are in
// range, whose lists do not contain themselves, whose sizes do not overflow and whose constants
// cover their tensors, or an error naming the call or value and the number that is wrong.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "ir/graph.h"

namespace etwebgpu {

// The largest recorded tensor taken seriously, in elements.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;

// Decodes a blob into plain data that does not refer to it. The blob may have any alignment; memory
// used is proportional to its size.
Result<Graph> decode_delegate(std::span<const std::byte> blob);

// The blob's constant section: Constant::offset counts from its start. Empty for programs that keep
// their constants in named data.
Result<std::span<const std::byte>> delegate_constants(std::span<const std::byte> blob);

}  // namespace etwebgpu
