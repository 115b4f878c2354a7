// Storages, and conversions between them and host dtypes.
#include "base/elements.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace etwebgpu {
namespace {

constexpr Storage kStorages[] = {Storage::F32, Storage::I32, Storage::I64, Storage::HalfPairs,
                                 Storage::Bytes};

TEST(Storages, TakeWholeWords) {
  EXPECT_EQ(storage_bytes(Storage::F32, 5), 20u);
  EXPECT_EQ(storage_bytes(Storage::I64, 5), 40u);
  EXPECT_EQ(storage_bytes(Storage::HalfPairs, 5), 12u);
  EXPECT_EQ(storage_bytes(Storage::Bytes, 5), 8u);
  for (const Storage storage : kStorages) {
    EXPECT_EQ(storage_bytes(storage, 0), 0u);
    for (std::int64_t count = 0; count < 9; ++count) {
      EXPECT_GE(storage_elements(storage, storage_bytes(storage, count)), count);
      EXPECT_LE(storage_bytes(storage, storage_elements(storage, 31)), 31u);
    }
  }
}

template <typename T>
std::span<const std::byte> bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// Elements stored, and loaded again as `back`.
std::vector<std::byte> through(DType dtype, std::span<const std::byte> data, Storage storage,
                               DType back) {
  const auto count = static_cast<std::int64_t>(data.size() / byte_size(dtype));
  const std::uint64_t size = storage_bytes(storage, count);
  std::vector<std::byte> stored(size, std::byte{0xEE});
  std::vector<std::byte> out(static_cast<std::size_t>(count) * byte_size(back));
  store_elements(dtype, data.data(), count, storage, stored.data());
  for (std::uint64_t i = element_bytes(storage) * static_cast<std::uint64_t>(count); i < size; ++i)
    EXPECT_EQ(stored[i], std::byte{0}) << name(storage);
  load_elements(storage, stored.data(), count, back, out.data());
  return out;
}

TEST(Elements, EveryDtypeComesBackFromEveryStorageThatHoldsIt) {
  const std::vector<std::uint8_t> flags = {0, 1, 1, 0, 1};
  const std::vector<std::uint8_t> naturals = {0, 1, 127, 255, 128};
  const std::vector<std::int8_t> smalls = {-128, -1, 0, 127, 1};
  const std::vector<std::int32_t> integers = {INT32_MIN, -1, 0, INT32_MAX, 7};
  const std::vector<std::int64_t> longs = {INT32_MIN, -1, 0, INT32_MAX, 7};
  const std::vector<std::uint16_t> halves = {0x3C00, 0xC000, 0x0001, 0x7C00, 0x7BFF};
  const std::vector<float> floats = {1.5f, -2.0f, 0.0f, 65504.0f, -0.25f};
  const std::vector<double> doubles = {1.5, -2.0, 0.0, 65504.0, -0.25};
  const std::pair<DType, std::span<const std::byte>> cases[] = {
      {DType::Bool, bytes(flags)},     {DType::UInt8, bytes(naturals)},
      {DType::Int8, bytes(smalls)},    {DType::Int32, bytes(integers)},
      {DType::Int64, bytes(longs)},    {DType::Float16, bytes(halves)},
      {DType::Float32, bytes(floats)}, {DType::Float64, bytes(doubles)},
  };
  for (const auto& [dtype, data] : cases) {
    for (const Storage storage : kStorages) {
      if (!can_store(storage, dtype)) continue;
      EXPECT_TRUE(std::ranges::equal(through(dtype, data, storage, dtype), data))
          << name(dtype) << " as " << name(storage);
    }
  }
}

TEST(Elements, BytesLieFourAWordTheFirstLowest) {
  const std::vector<std::int8_t> smalls = {1, -1, 2, -128, 3};
  std::uint32_t words[2] = {};
  store_elements(DType::Int8, bytes(smalls).data(), 5, Storage::Bytes,
                 std::as_writable_bytes(std::span(words)).data());
  EXPECT_EQ(words[0], 0x8002FF01u);
  EXPECT_EQ(words[1], 3u);
}

TEST(Elements, AnyTrueBoolIsOne) {
  const std::vector<std::uint8_t> flags = {0, 2, 255};
  const std::vector<std::uint8_t> expected = {0, 1, 1};
  for (const Storage storage : {Storage::I32, Storage::Bytes})
    EXPECT_TRUE(std::ranges::equal(through(DType::Bool, bytes(flags), storage, DType::UInt8),
                                   bytes(expected)))
        << name(storage);
}

TEST(Elements, IntegersKeepTheirLowBits) {
  const std::vector<std::int64_t> longs = {INT64_MIN, (1ll << 40) + 5, -1, INT64_MAX};
  const std::vector<std::int32_t> low = {0, 5, -1, -1};
  for (const Storage storage : {Storage::I32, Storage::I64})
    EXPECT_TRUE(
        std::ranges::equal(through(DType::Int64, bytes(longs), storage, DType::Int32), bytes(low)));
  EXPECT_TRUE(std::ranges::equal(through(DType::Int64, bytes(longs), Storage::I64, DType::Int64),
                                 bytes(longs)));
}

TEST(Elements, FloatsPastF16StayFiniteWhereTheyAreKeptInIt) {
  const std::vector<float> floats = {70000.0f, -1e9f, INFINITY};
  const std::vector<float> kept = {65504.0f, -65504.0f, INFINITY};
  const std::vector<std::uint16_t> given = {0x7C00, 0xFC00, 0x7C00};
  EXPECT_TRUE(std::ranges::equal(
      through(DType::Float32, bytes(floats), Storage::HalfPairs, DType::Float32), bytes(kept)));
  EXPECT_TRUE(std::ranges::equal(
      through(DType::Float32, bytes(floats), Storage::F32, DType::Float16), bytes(given)));
}

}  // namespace
}  // namespace etwebgpu
