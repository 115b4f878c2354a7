// Which kernels compute an attention, and how they divide the work.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/route.h"

namespace etwebgpu {

// Groups of four elements.
inline std::int64_t vectors(std::int64_t elements) { return div_up<std::int64_t>(elements, 4); }

// True if every row may be read in groups of four.
bool is_vectorizable(const Attention& a);

struct AttentionRoute : Route {
  std::int64_t units = 1;            // workgroups along batch and heads; `groups` counts all
  std::vector<Literal> params = {};  // that only some kernels have: queries, q_row, d4, dv4, units
  // Split along the keys: keys and results of a workgroup, for attention_merge to join. 0: every
  // query walks all its keys.
  std::int64_t split_keys = 0;
  std::int64_t parts = 1;
};

// Over keys and values as they lie.
AttentionRoute choose_attention_route(const LowerContext& c, const Attention& a);

// Of one query whose own key and value are fresh: by a kernel that rotates them too; null where
// there is none for the device or the problem.
std::optional<AttentionRoute> choose_fresh_route(const LowerContext& c, const Attention& a);

// Joins the results of workgroups that had `route`'s parts of the keys, `splits` at most.
Route choose_merge_route(const LowerContext& c, const Attention& a, const AttentionRoute& route,
                         std::int64_t splits);

// The most results that a query's keys may be split into.
std::int64_t split_capacity(const Attention& a, const AttentionRoute& route);

}  // namespace etwebgpu
