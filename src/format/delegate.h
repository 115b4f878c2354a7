// The delegate blob: a header (magic VH00), the graph as a flatbuffer (identifier VK00), and
// constant bytes. Nothing in it is trusted: decode_delegate() returns a Graph whose ids are in
// range, whose lists do not contain themselves, whose sizes do not overflow and whose constants
// cover their tensors, or an error naming the call or value and the number that is wrong.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "format/file.h"
#include "ir/graph.h"

namespace etwebgpu {

// The largest recorded tensor taken seriously, in elements.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;

// Decodes a blob into plain data that does not refer to it. The blob may have any alignment; memory
// used is proportional to its size.
Result<Graph> decode_delegate(const FileHead& blob);

// How many bytes of the blob's beginning decode_delegate() needs, found in the first
// kDelegateHeaderBytes of them.
Result<std::uint64_t> delegate_head_size(const FileHead& blob);
inline constexpr std::size_t kDelegateHeaderBytes = 30;

// The blob's constant section: Constant::offset counts from its start. Empty for programs that keep
// their constants in named data.
Result<FilePart> delegate_constants(const FileHead& blob);

}  // namespace etwebgpu
