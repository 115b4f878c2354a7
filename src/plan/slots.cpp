#include "plan/slots.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace etwebgpu {
namespace {

// The times at which a slot is taken: first -> last, disjoint.
class Occupancy {
 public:
  bool is_free(const Lifetime& t) const {
    const auto after = taken_.upper_bound(t.last);
    return after == taken_.begin() || std::prev(after)->second < t.first;
  }
  void take(const Lifetime& t) { taken_[t.first] = t.last; }

 private:
  std::map<std::int32_t, std::int32_t> taken_;
};

}  // namespace

SlotPlan assign_slots(const std::vector<Lifetime>& lifetimes) {
  std::vector<std::uint32_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0u);
  // Largest first, and as given where equal.
  std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) {
    return std::pair{lifetimes[b].bytes, a} < std::pair{lifetimes[a].bytes, b};
  });

  SlotPlan plan;
  plan.slot_of.resize(lifetimes.size());
  std::vector<Occupancy> occupancy;
  for (std::uint32_t i : order) {
    // Slots come in descending size, so the last free one wastes least.
    std::size_t slot = occupancy.size();
    for (std::size_t s = occupancy.size(); s-- > 0;) {
      if (occupancy[s].is_free(lifetimes[i])) {
        slot = s;
        break;
      }
    }
    if (slot == occupancy.size()) {
      occupancy.emplace_back();
      plan.slots.push_back(lifetimes[i].bytes);
    }
    occupancy[slot].take(lifetimes[i]);
    plan.slot_of[i] = static_cast<std::uint32_t>(slot);
  }
  return plan;
}

}  // namespace etwebgpu
