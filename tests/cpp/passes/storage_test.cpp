// Which storage values get by who uses them.
#include "base/storage.h"

#include <gtest/gtest.h>

#include "passes/passes.h"
#include "support/copy_bytes.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

std::vector<Storage> storages(const Graph& graph, FloatType kv_cache = FloatType::F32,
                              bool wide_integers = true) {
  return choose_storage(graph, find_aliases(graph), kv_cache, wide_integers);
}

Storage of(const std::vector<Storage>& all, ValueId v) { return all[static_cast<std::size_t>(v)]; }

class BytesStorage : public ::testing::Test {
 protected:
  void SetUp() override { add_op(kCopyBytes); }
  ValueId copy(ValueId x) {
    return b.call("test.copy_bytes", {x}, b.bound(x), b.graph.tensor(x)->dtype);
  }
  GraphBuilder b;
};

TEST_F(BytesStorage, IsWhatAllUsersTake) {
  for (const DType dtype : {DType::Int8, DType::UInt8, DType::Bool}) {
    const ValueId x = b.input({5}, dtype), y = copy(x), z = copy(b.constant({5}, dtype));
    b.output(y);
    const std::vector<Storage> all = storages(b.graph);
    for (const ValueId v : {x, y, z}) EXPECT_EQ(of(all, v), Storage::Bytes) << name(dtype);
  }
}

TEST_F(BytesStorage, IsSharedByViews) {
  const ValueId x = b.input({6}, DType::Int8);
  const ValueId view = b.call("aten.view_copy.default", {x, b.ints({2, 3})}, {2, 3}, DType::Int8);
  b.output(copy(view));
  EXPECT_EQ(of(storages(b.graph), x), Storage::Bytes);
  EXPECT_EQ(of(storages(b.graph), view), Storage::Bytes);
}

TEST_F(BytesStorage, IsNoneWhereOneUserTakesWords) {
  const ValueId x = b.input({5}, DType::Bool), y = copy(x);
  b.output(b.call("aten.logical_not.default", {x}, {5}, DType::Bool));
  b.output(y);
  EXPECT_EQ(of(storages(b.graph), x), Storage::I32);
  EXPECT_EQ(of(storages(b.graph), y), Storage::Bytes);
}

TEST_F(BytesStorage, IsForEightBitsOnly) {
  const ValueId x = b.input({5}, DType::Int32), y = copy(b.input({5}));
  b.output(copy(x));
  b.output(y);
  EXPECT_EQ(of(storages(b.graph, FloatType::F32, false), x), Storage::I32);
  EXPECT_EQ(of(storages(b.graph), y), Storage::F32);
}

TEST(WideStorage, FollowsTheHostsIntegers) {
  GraphBuilder b;
  const ValueId x = b.input({4}, DType::Int32);
  const ValueId y = b.call("aten.neg.default", {x}, {4}, DType::Int32);
  b.output(y);
  EXPECT_EQ(of(storages(b.graph, FloatType::F32, true), x), Storage::I64);
  EXPECT_EQ(of(storages(b.graph, FloatType::F32, false), y), Storage::I32);
}

TEST(HalfStorage, IsForCachesThatOnlyAttentionUses) {
  GraphBuilder b;
  const ValueId x = b.input({1, 1, 2, 32}), position = b.scalar_input();
  const GraphBuilder::Cache one = b.cache({1, 8, 2, 32}), other = b.cache({1, 8, 2, 32});
  b.output(b.attend(x, x, x, one, position));
  b.output(b.attend(x, x, x, other, position));
  b.output(other.v);
  const std::vector<Storage> all = storages(b.graph, FloatType::F16);
  EXPECT_EQ(of(all, one.k), Storage::HalfPairs);
  EXPECT_EQ(of(all, other.k), Storage::HalfPairs);
  EXPECT_EQ(of(all, other.v), Storage::F32);
  EXPECT_EQ(of(storages(b.graph), one.k), Storage::F32);
}

}  // namespace
}  // namespace etwebgpu::testing
