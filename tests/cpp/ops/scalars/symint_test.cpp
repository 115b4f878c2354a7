#include <gtest/gtest.h>

#include "support/one_call.h"

namespace etwebgpu::testing {
namespace {

// Ones, as many as a scalar says, which shows so as a size.
ValueId filled(GraphBuilder& b, ValueId count) {
  return b.call("aten.full.default", {b.list({count}), b.number(1)}, Dims{1000});
}

// full([op(x, y)], 1) of scalar inputs x and y.
std::unique_ptr<Model> size_of(std::string name) {
  GraphBuilder b;
  const ValueId x = b.scalar_input(), y = b.scalar_input();
  const ValueId result = b.call(std::move(name), {x, y}, b.scalar());
  b.output(filled(b, result));
  return compile(std::move(b.graph));
}

Result<std::int64_t> evaluate(Model& model, std::int64_t x, std::int64_t y) {
  const HostInput inputs[] = {host_scalar(x), host_scalar(y)};
  TRY_ASSIGN(const Plan* plan, model.prepare(inputs));
  return plan->outputs[0].sizes[0];
}

TEST(SymInt, ComputesLikePython) {
  struct Case {
    const char* name;
    std::int64_t x, y, expected;
  };
  const Case cases[] = {{"add", 3, 4, 7},      {"sub", 9, 4, 5},        {"mul", 6, 7, 42},
                        {"floordiv", 7, 2, 3}, {"floordiv", -7, -2, 3}, {"mod", 7, 3, 1},
                        {"mod", -7, 3, 2},     {"eq", 2, 2, 1},         {"ne", 2, 2, 0},
                        {"lt", 1, 2, 1},       {"le", 3, 2, 0},         {"gt", 3, 2, 1},
                        {"ge", 2, 2, 1}};
  for (const Case& c : cases) {
    const auto model = size_of(c.name);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(evaluate(*model, c.x, c.y).value_or(-1), c.expected) << c.name;
  }
}

TEST(SymInt, DivisionByZeroIsAnErrorOnlyAtRunTime) {
  for (const char* name : {"floordiv", "mod"}) {
    const auto model = size_of(name);
    ASSERT_NE(model, nullptr);
    const auto value = evaluate(*model, 5, 0);
    ASSERT_FALSE(value);
    EXPECT_NE(value.error().message.find("5"), std::string::npos);
    EXPECT_TRUE(evaluate(*model, 5, 2));
  }
}

TEST(SymInt, OverflowIsAnError) {
  const auto model = size_of("mul");
  ASSERT_NE(model, nullptr);
  EXPECT_FALSE(evaluate(*model, std::int64_t{1} << 40, std::int64_t{1} << 40));
  EXPECT_EQ(evaluate(*model, 3, 3).value_or(-1), 9);
}

// A scalar read from element `index` of an int32 input [1, 4].
TEST(SymInt, IsReadFromAnInputOnTheHost) {
  GraphBuilder b;
  const ValueId table = b.input({1, 4}, DType::Int32);
  const ValueId last =
      b.call("et_vk.select_as_symint.default", {table, b.number(1), b.number(-1)}, b.scalar());
  b.output(filled(b, last));
  const auto model = compile(std::move(b.graph));
  ASSERT_TRUE(model);
  EXPECT_TRUE(model->wants_host_data(0));
  const std::int64_t elements[] = {5, 6, 7, 8};
  const HostInput full[] = {host_input({1, 4}, 0, elements)};
  auto plan = model->prepare(full);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ((*plan)->outputs[0].sizes[0], 8);
  const HostInput shorter[] = {host_input({1, 2}, 0, std::span(elements).first(2))};
  plan = model->prepare(shorter);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ((*plan)->outputs[0].sizes[0], 6);
}

TEST(SymInt, ProgramsChecksHold) {
  GraphBuilder b;
  const ValueId x = b.scalar_input();
  // Checks write nothing: their last argument stands where other calls have an output.
  b.call("sym_constrain_range_for_size.default", {x, b.number(2)}, b.number(7));
  b.call("_assert_scalar.default", {}, x);
  b.output(filled(b, x));
  const auto model = compile(std::move(b.graph));
  ASSERT_TRUE(model);
  const HostInput inside[] = {host_scalar(7)}, outside[] = {host_scalar(8)};
  EXPECT_TRUE(model->prepare(inside));
  const auto failed = model->prepare(outside);
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("the scalar 8 is outside [2, 7]"), std::string::npos);
}

}  // namespace
}  // namespace etwebgpu::testing
