// Which buffers of two delegates are one.
#include "plan/state_pairs.h"

#include <gtest/gtest.h>

namespace etwebgpu {
namespace {

constexpr const char *kZeros = "zeros", *kOnes = "ones";

StateUse use(bool written, std::string contents = kZeros, Dims dims = {4}, std::string name = "") {
  return {0, std::move(contents), std::move(name), DType::Float32, dims, written};
}

using Uses = std::vector<StateUse>;
using Pairs = StatePairs;

TEST(StatePairs, WrittenBuffersPairInOrder) {
  const Uses mine = {use(true), use(true, kZeros, {2, 2}), use(true)};
  const auto pairs = pair_states(mine, mine);
  ASSERT_TRUE(pairs) << pairs.error().message;
  EXPECT_EQ(*pairs, (Pairs{{0, 0}, {2, 2}, {1, 1}}));
}

TEST(StatePairs, AReaderPairsWithAWriter) {
  const auto pairs = pair_states(Uses{use(false)}, Uses{use(true)});
  ASSERT_TRUE(pairs);
  EXPECT_EQ(*pairs, (Pairs{{0, 0}}));
}

TEST(StatePairs, ConstantsOfBothAreNoState) {
  const auto pairs = pair_states(Uses{use(false), use(true)}, Uses{use(false), use(true)});
  ASSERT_TRUE(pairs);
  EXPECT_EQ(*pairs, (Pairs{{1, 1}}));
}

TEST(StatePairs, OtherContentsTypesAndSizesAreOtherBuffers) {
  StateUse integers = use(true);
  integers.dtype = DType::Int32;
  const Uses theirs = {use(true, kOnes), use(true, kZeros, {1, 4}), integers};
  const auto pairs = pair_states(Uses{use(true)}, theirs);
  ASSERT_TRUE(pairs);
  EXPECT_TRUE(pairs->empty());
}

TEST(StatePairs, OtherNumbersOfBuffersAreRefused) {
  EXPECT_FALSE(pair_states(Uses{use(true)}, Uses{use(true), use(true)}));
  EXPECT_FALSE(pair_states(Uses{use(false)}, Uses{use(true), use(true)}));
  EXPECT_FALSE(pair_states(Uses{use(false), use(true)}, Uses{use(true)}));
}

// Numbers of the program's text are constants too, and zeros are frequent among them.
TEST(StatePairs, NumbersAreToldFromCountersByWhoWrites) {
  const StateUse number = use(false, kZeros, {}), counter = use(true, kZeros, {});
  const auto pairs = pair_states(Uses{counter, number}, Uses{counter});
  ASSERT_TRUE(pairs) << pairs.error().message;
  EXPECT_EQ(*pairs, (Pairs{{0, 0}}));
  const auto none = pair_states(Uses{number}, Uses{counter, number});
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->empty());
}

TEST(StatePairs, NamesDecideWhereThereAreAny) {
  const Uses mine = {use(true, kZeros, {4}, "b"), use(true, kZeros, {4}, "c")};
  const Uses theirs = {use(true, kZeros, {4}, "a"), use(false, kZeros, {4}, "b"),
                       use(true, kOnes, {4}, "c")};  // other contents
  const auto pairs = pair_states(mine, theirs);
  ASSERT_TRUE(pairs) << pairs.error().message;
  EXPECT_EQ(*pairs, (Pairs{{0, 1}}));
  EXPECT_FALSE(pair_states(mine, Uses{use(true, kZeros, {5}, "b")}));
}

// A method whose first delegate reads a buffer and whose last writes it.
TEST(StatePairs, AReaderByNamePairsWithTheWriterBehindAnotherReader) {
  const Uses theirs = {use(false, kZeros, {4}, "a"), use(true, kZeros, {4}, "a")};
  const auto pairs = pair_states(Uses{use(false, kZeros, {4}, "a")}, theirs);
  ASSERT_TRUE(pairs);
  EXPECT_EQ(*pairs, (Pairs{{0, 1}}));
}

TEST(StatePairs, WithinAMethodTheReaderComesFirst) {
  const Uses reader = {use(false)}, writer = {use(true)};
  const auto pairs = pair_within_method(reader, writer);
  ASSERT_TRUE(pairs) << pairs.error().message;
  EXPECT_EQ(*pairs, (Pairs{{0, 0}}));
  EXPECT_FALSE(pair_within_method(writer, reader));
  EXPECT_FALSE(pair_within_method(reader, Uses{use(true), use(true)}));
  // Delegates of one method have buffers of their own, and numbers.
  EXPECT_TRUE(pair_within_method(writer, writer)->empty());
  EXPECT_TRUE(
      pair_within_method(Uses{use(false, kZeros, {})}, Uses{use(true, kZeros, {})})->empty());
}

}  // namespace
}  // namespace etwebgpu
