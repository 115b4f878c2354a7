// Which values keep what they hold: what a pass asks before it has a call read one later.
#pragma once

#include <cstdint>
#include <span>

#include "ir/graph.h"
#include "passes/passes.h"

namespace etwebgpu {

class Lasting {
 public:
  // By ValueId or empty: constants that another graph writes.
  Lasting(const Graph& graph, std::span<const std::uint8_t> written_elsewhere)
      : graph_(graph), aliases_(find_aliases(graph)), written_elsewhere_(written_elsewhere) {}

  // Written once it had contents; a list, if one of its items is.
  bool is_overwritten(ValueId v) const;
  // A constant that stays what it is.
  bool is_fixed(ValueId v) const;

 private:
  // Values that passes add are no tensors.
  ValueId root(ValueId v) const;

  const Graph& graph_;
  const Aliasing aliases_;
  std::span<const std::uint8_t> written_elsewhere_;
};

}  // namespace etwebgpu
