// Tensors at the host's boundary.
#include "webgpu/host_tensor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace etwebgpu {
namespace {

template <typename T>
std::span<const std::byte> bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
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

TEST(Words, AStorageForOtherTypesIsRefused) {
  const std::vector<std::int32_t> values = {1};
  std::vector<std::uint32_t> words(1);
  const auto result = to_words("input 0", DType::Int32, bytes(values), Storage::F32, words);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("int32 is not stored as f32"), std::string::npos);
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
