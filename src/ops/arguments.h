// What operators with list arguments share: sizes given by integers and SymInts.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ops/op.h"

namespace etwebgpu {

inline const Dims& bound_of(const CallContext& c, ValueId tensor) {
  return c.graph().tensor(tensor)->bound;
}

// True if a list argument has a SymInt among its items: unknown at load.
inline bool holds_symint(const CallContext& c, std::size_t arg) {
  const auto* list = std::get_if<ValueList>(&c.graph().value(c.id(arg)));
  return list &&
         std::ranges::any_of(list->items, [&](ValueId v) { return c.graph().is_symint(v); });
}

inline std::string list_text(std::span<const std::int64_t> list) {
  std::string out = "[";
  for (std::size_t i = 0; i < list.size(); ++i) out += cat(i == 0 ? "" : ", ", list[i]);
  return out + "]";
}

// Rows from a live position on must lie within the `capacity` of `what` ("the cache's").
inline Result<void> check_position(std::int64_t position, std::int64_t tokens,
                                   std::int64_t capacity, std::string_view what) {
  CHECK_OR_FAIL(position >= 0, ErrorKind::InvalidArgument, "position ", position, " is negative");
  CHECK_OR_FAIL(position <= capacity - tokens, ErrorKind::InvalidArgument, "position ", position,
                " + ", tokens, " tokens pass ", what, " ", capacity, " rows");
  return {};
}

// Sizes from a file, before anything is multiplied with them: as many as the output has dimensions,
// none negative (but -1 where that means "infer it") or past its bound.
inline Result<void> check_sizes(const CallContext& c, std::span<const std::int64_t> sizes,
                                bool may_infer) {
  const Dims& bound = bound_of(c, c.output_id());
  CHECK_OR_FAIL(sizes.size() == bound.rank(), ErrorKind::InvalidProgram, "sizes ", list_text(sizes),
                " do not have the rank of the recorded ", to_string(bound));
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    CHECK_OR_FAIL((may_infer && sizes[d] == -1) || (sizes[d] >= 0 && sizes[d] <= bound[d]),
                  ErrorKind::InvalidArgument, "sizes ", list_text(sizes),
                  " do not lie within the recorded ", to_string(bound));
  }
  return {};
}

}  // namespace etwebgpu
