#include "ir/graph.h"

#include <algorithm>

namespace etwebgpu {
namespace {

void add_origin(std::vector<CallOrigin>& covers, const CallOrigin& origin) {
  if (std::ranges::find(covers, origin) != covers.end()) return;
  covers.insert(std::ranges::upper_bound(covers, origin.node_id, {}, &CallOrigin::node_id), origin);
}

}  // namespace

void cover(Call& fused, const Call& other) {
  if (other.covers.empty()) return add_origin(fused.covers, {other.name, other.node_id});
  for (const CallOrigin& origin : other.covers) add_origin(fused.covers, origin);
}

}  // namespace etwebgpu
