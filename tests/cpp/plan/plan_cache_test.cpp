// Which calls of a model take the same plan, and how long a plan is kept.
#include <gtest/gtest.h>

#include <map>

#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kKept = 32, kMostRows = 100;

// A model of x [rows, 4] and a scalar.
class Cached {
 public:
  template <typename Build>
  explicit Cached(const Build& build) {
    GraphBuilder b;
    const ValueId x = b.input({kMostRows, 4}), scalar = b.scalar_input();
    b.output(build(b, x, scalar));
    model_ = compile(std::move(b.graph));
  }
  const Plan* at(std::int64_t rows, std::int64_t scalar) {
    const HostInput inputs[] = {host_input({rows, 4}), host_scalar(scalar)};
    return plan_at(*model_, inputs);
  }

 private:
  std::unique_ptr<Model> model_;
};

ValueId clamp(GraphBuilder& b, ValueId x, ValueId least) {
  return b.call("aten.clamp.default", {x, least, b.none()}, b.bound(x));
}

TEST(PlanCache, AScalarThatAKernelsTextHoldsIsPartOfThePlansKey) {
  Cached model(clamp);
  const Plan* two = model.at(3, 2);
  EXPECT_EQ(model.at(3, 2), two);
  const Plan* five = model.at(3, 5);
  EXPECT_NE(five, two);
  EXPECT_NE(two->uniforms, five->uniforms);
  EXPECT_NE(model.at(7, 2), two) << "the sizes are, too";
  EXPECT_EQ(model.at(3, 2), two);
  EXPECT_EQ(model.at(3, 5), five);
}

TEST(PlanCache, AScalarThatLoweringReadsIsPartOfThePlansKey) {
  Cached model([](GraphBuilder& b, ValueId x, ValueId dim) {
    return b.call("aten._softmax.default", {x, dim, b.flag(false)}, b.bound(x));
  });
  const Plan *rows = model.at(3, 1), *columns = model.at(3, 0);
  EXPECT_NE(rows, columns);
  EXPECT_EQ(model.at(3, 1), rows);
}

TEST(PlanCache, AScalarThatKernelsBindChangesNoPlan) {
  Cached model([](GraphBuilder& b, ValueId x, ValueId scalar) { return b.multiply(x, scalar); });
  EXPECT_EQ(model.at(3, 2), model.at(3, 5));
}

// A plan takes what the executor hung on it with it: so an evicted one shows.
class Kept {
 public:
  explicit Kept(Cached& model) : model_(model) {}

  void call(std::int64_t rows) {
    const Plan* plan = model_.at(rows, 0);
    if (plan->replay) return;
    plan->replay = std::make_shared<int>();
    replays_[rows] = plan->replay;
  }
  bool has(std::int64_t rows) const { return !replays_.at(rows).expired(); }

 private:
  Cached& model_;
  std::map<std::int64_t, std::weak_ptr<void>> replays_;
};

TEST(PlanCache, TheLeastRecentlyUsedPlanMakesRoomForANewOne) {
  Cached model(clamp);
  Kept kept(model);
  for (std::int64_t rows = 1; rows <= kKept; ++rows) kept.call(rows);
  kept.call(1);
  for (std::int64_t rows = 1; rows <= kKept; ++rows) EXPECT_TRUE(kept.has(rows)) << rows;
  kept.call(kKept + 1);
  EXPECT_TRUE(kept.has(1));
  EXPECT_FALSE(kept.has(2));
  for (std::int64_t rows = 3; rows <= kKept + 1; ++rows) EXPECT_TRUE(kept.has(rows)) << rows;
}

TEST(PlanCache, AnEvictedPlanIsMadeAgain) {
  Cached model(clamp);
  Kept kept(model);
  for (std::int64_t rows = 1; rows <= kKept + 1; ++rows) kept.call(rows);
  ASSERT_FALSE(kept.has(1));
  const Plan* again = model.at(1, 0);
  EXPECT_EQ(again->replay, nullptr);
  EXPECT_EQ(again->outputs[0].sizes, (Dims{1, 4}));
  EXPECT_FALSE(kept.has(2)) << "the next oldest made room";
}

}  // namespace
}  // namespace etwebgpu::testing
