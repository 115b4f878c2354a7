// Conversions between host dtypes and the device's words.
#include "webgpu/host_tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace etwebgpu {
namespace {

template <typename T>
std::span<const std::byte> bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

TEST(Words, EveryDtypeComesBack) {
  const std::vector<std::uint8_t> flags = {0, 1, 1, 0};
  const std::vector<std::uint8_t> naturals = {0, 1, 127, 255};
  const std::vector<std::int8_t> smalls = {-128, -1, 0, 127};
  const std::vector<std::int32_t> integers = {INT32_MIN, -1, 0, INT32_MAX};
  const std::vector<std::int64_t> longs = {INT32_MIN, -1, 0, INT32_MAX};
  const std::vector<std::int64_t> long_ones = {INT64_MIN, -(1ll << 40), 1ll << 32, INT64_MAX};
  const std::vector<std::uint16_t> halves = {0x3C00, 0xC000, 0x0001, 0x7C00};
  const std::vector<float> floats = {1.5f, -2.0f, 0.0f, 3e38f};
  const std::vector<double> doubles = {1.5, -2.0, 0.0, 1e30f};
  const auto check = [](DType dtype, std::span<const std::byte> data,
                        Storage storage = Storage::I32) {
    const std::size_t per_element = storage == Storage::I64 ? 2 : 1;
    std::vector<std::uint32_t> words(per_element * data.size() / byte_size(dtype));
    ASSERT_TRUE(to_words("x", dtype, data, storage, words));
    std::vector<std::byte> back(data.size());
    from_words(words, storage, dtype, back);
    EXPECT_TRUE(std::ranges::equal(back, data)) << name(dtype);
  };
  check(DType::Bool, bytes(flags));
  check(DType::UInt8, bytes(naturals));
  check(DType::Int8, bytes(smalls));
  check(DType::Int32, bytes(integers));
  check(DType::Int64, bytes(longs));
  check(DType::Int64, bytes(long_ones), Storage::I64);
  check(DType::Int32, bytes(integers), Storage::I64);
  check(DType::Float16, bytes(halves), Storage::F32);
  check(DType::Float32, bytes(floats), Storage::F32);
  check(DType::Float64, bytes(doubles), Storage::F32);
}

TEST(Words, Int64OutOfRangeNamesValueAndIndex) {
  const std::vector<std::int64_t> values = {0, 5000000000, 1};
  std::vector<std::uint32_t> words(3);
  const auto result = to_words("input 2", DType::Int64, bytes(values), Storage::I32, words);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::InvalidArgument);
  for (const char* part : {"input 2", "element 1", "5000000000"})
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

TEST(HostTensors, StridesThatDoNotMatterAreRowMajor) {
  EXPECT_TRUE(is_row_major({2, 3, 4}, {12, 4, 1}));
  EXPECT_TRUE(is_row_major({2, 1, 4}, {4, 77, 1}));
  EXPECT_TRUE(is_row_major({2, 0, 4}, {5, 6, 7}));
  EXPECT_TRUE(is_row_major({}, {}));
  EXPECT_FALSE(is_row_major({2, 3, 4}, {12, 1, 3}));
}

TEST(HostTensors, ElementsComeInRowMajorOrderAndGoBack) {
  const std::vector<float> columns = {0, 3, 1, 4, 2, 5};  // of a 2 x 3 tensor
  const std::vector<float> rows = {0, 1, 2, 3, 4, 5};
  const HostTensor tensor{
      .dtype = DType::Float32, .sizes = {2, 3}, .strides = {1, 2}, .data = bytes(columns)};
  std::vector<float> gathered(6), scattered(6);
  gather(tensor, std::as_writable_bytes(std::span(gathered)));
  EXPECT_EQ(gathered, rows);
  scatter(bytes(rows), {.dtype = DType::Float32,
                        .sizes = {2, 3},
                        .strides = {1, 2},
                        .data = std::as_writable_bytes(std::span(scattered))});
  EXPECT_EQ(scattered, columns);
}

TEST(Words, OnlyFittingDtypesConvert) {
  EXPECT_TRUE(convertible(DType::Int64, DType::Int32));
  EXPECT_TRUE(convertible(DType::Float16, DType::Float32));
  EXPECT_TRUE(convertible(DType::Bool, DType::Bool));
  EXPECT_FALSE(convertible(DType::Float32, DType::Int32));
  EXPECT_FALSE(convertible(DType::Int64, DType::Float32));
  EXPECT_FALSE(convertible(DType::UInt8, DType::Bool));
  EXPECT_FALSE(convertible(DType::Int32, DType::UInt8));
}

}  // namespace
}  // namespace etwebgpu
