#include <algorithm>
#include <vector>

#include "ops/families.h"
#include "ops/op.h"
#include "ops/user_op.h"

namespace etwebgpu {

static std::vector<const Op*> collect() {
  std::vector<const Op*> ops;
  auto add = [&ops](std::span<const Op> family) {
    for (const Op& op : family) ops.push_back(&op);
  };
#define ETWG_ADD_FAMILY(name) add(name());
  ETWG_OP_FAMILIES(ETWG_ADD_FAMILY)
#undef ETWG_ADD_FAMILY
  std::ranges::sort(ops, {}, &Op::name);
  return ops;
}

std::span<const Op* const> all_ops() {
  static const std::vector<const Op*> ops = collect();
  return ops;
}

const Op* find_op(std::string_view name) {
  const auto ops = all_ops();
  const auto it = std::ranges::lower_bound(ops, name, {}, &Op::name);
  return it != ops.end() && (*it)->name == name ? *it : find_user_op(name);
}

}  // namespace etwebgpu
