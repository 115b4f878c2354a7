#include "passes/lasting.h"

#include <algorithm>
#include <variant>

namespace etwebgpu {

ValueId Lasting::root(ValueId v) const {
  const auto at = static_cast<std::size_t>(v);
  return at < aliases_.storage.size() ? aliases_.storage[at] : v;
}

bool Lasting::is_overwritten(ValueId v) const {
  if (const auto* list = std::get_if<ValueList>(&graph_.value(v)))
    return std::ranges::any_of(list->items, [this](ValueId item) { return is_overwritten(item); });
  return graph_.tensor(v) && aliases_.overwritten[static_cast<std::size_t>(root(v))];
}

bool Lasting::is_fixed(ValueId v) const {
  const auto at = static_cast<std::size_t>(root(v));
  const TensorInfo* info = graph_.tensor(root(v));
  const bool written = at < written_elsewhere_.size() && written_elsewhere_[at];
  return info && info->constant >= 0 && !aliases_.mutated[at] && !written;
}

}  // namespace etwebgpu
