#include "webgpu/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace etwebgpu {
namespace {

TEST(Parallel, EveryShareRunsOnce) {
  for (const std::size_t count : {0, 1, 2, 7, 64}) {
    std::vector<std::atomic<int>> calls(count);
    run_shares(count, [&](std::size_t i) { ++calls.at(i); });
    for (const auto& n : calls) EXPECT_EQ(n, 1);
  }
}

TEST(Parallel, CoresAreCountedUpToALimit) {
  EXPECT_EQ(core_count(1), 1u);
  EXPECT_GE(core_count(64), 1u);
  EXPECT_LE(core_count(3), 3u);
}

}  // namespace
}  // namespace etwebgpu
