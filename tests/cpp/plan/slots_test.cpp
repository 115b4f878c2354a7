#include "plan/slots.h"

#include <gtest/gtest.h>

#include <random>

namespace etwebgpu {
namespace {

bool overlap(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

TEST(Slots, TensorsWithDisjointLifetimesShareOneSlot) {
  const SlotPlan plan = assign_slots({{64, 0, 1}, {32, 2, 3}, {16, 4, 4}});
  EXPECT_EQ(plan.slots, (std::vector<std::uint64_t>{64}));
}

TEST(Slots, TensorsThatMeetInOneDispatchDoNot) {
  const SlotPlan plan = assign_slots({{64, 0, 1}, {32, 1, 3}});
  EXPECT_NE(plan.slot_of[0], plan.slot_of[1]);
}

TEST(Slots, NeverSharesOverlappingLifetimesAndNeverIsTooSmall) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> lifetimes(1 + random() % 60);
    for (Lifetime& t : lifetimes) {
      t.first = static_cast<std::int32_t>(random() % 40);
      t.last = t.first + static_cast<std::int32_t>(random() % 10);
      t.bytes = 16 * (1 + random() % 100);
    }
    const SlotPlan plan = assign_slots(lifetimes);
    std::uint64_t separate = 0;
    for (std::size_t i = 0; i < lifetimes.size(); ++i) {
      separate += lifetimes[i].bytes;
      ASSERT_GE(plan.slots[plan.slot_of[i]], lifetimes[i].bytes);
      for (std::size_t j = 0; j < i; ++j) {
        if (overlap(lifetimes[i], lifetimes[j])) {
          ASSERT_NE(plan.slot_of[i], plan.slot_of[j]);
        }
      }
    }
    std::uint64_t total = 0;
    for (std::uint64_t bytes : plan.slots) total += bytes;
    EXPECT_LE(total, separate);
  }
}

}  // namespace
}  // namespace etwebgpu
