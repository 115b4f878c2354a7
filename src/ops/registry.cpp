#include <algorithm>
#include <vector>

#include "base/kept_list.h"
#include "ops/families.h"
#include "ops/op.h"

namespace etwebgpu {

// Never destroyed: models refer to operators until the process ends.
static auto& added() {
  static auto& list = *new KeptList<const Op*>;
  return list;
}

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

static const Op* find_built_in(std::string_view name) {
  const auto ops = all_ops();
  const auto it = std::ranges::lower_bound(ops, name, {}, &Op::name);
  return it != ops.end() && (*it)->name == name ? *it : nullptr;
}

static auto has_name(std::string_view name) {
  return [name](const Op* op) { return op->name == name; };
}

const Op* find_op(std::string_view name) {
  if (const Op* op = find_built_in(name)) return op;
  const Op* const* op = added().find(has_name(name));
  return op != nullptr ? *op : nullptr;
}

bool add_op(const Op& op) {
  return find_built_in(op.name) == nullptr && added().add(&op, has_name(op.name));
}

}  // namespace etwebgpu
