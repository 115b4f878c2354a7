#include "ops/packing.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"

namespace etwebgpu {
namespace {

std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> out(count);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

// Small finite floats, so that comparisons of values make sense.
std::vector<std::byte> random_source(const PackedPart& part, unsigned seed) {
  auto bytes = random_bytes(source_size(part), seed);
  std::mt19937 random(seed);
  for (std::size_t i = 0; i < bytes.size() / byte_size(part.dtype); ++i) {
    const float value = static_cast<float>(static_cast<int>(random() % 2000) - 1000) / 8;
    if (part.dtype == DType::Float32) std::memcpy(bytes.data() + 4 * i, &value, 4);
    const std::uint16_t half = float_to_half_bits(value);
    if (part.dtype == DType::Float16) std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

// From nothing but the bytes that each window asks for; every byte is in one window.
std::vector<std::byte> pack_by_windows(const PackedConstant& constant,
                                       const std::vector<std::vector<std::byte>>& data,
                                       std::uint64_t size) {
  constexpr std::uint64_t kMost = 1024;
  std::vector<std::byte> out(size, std::byte{0xef});
  std::uint64_t written = 0;
  for (const PackedWindow& window : packed_windows(constant, kMost)) {
    const auto& source = data[window.part];
    EXPECT_LE(window.source_offset + window.source_size, source.size());
    const std::span<const std::byte> sources[] = {
        std::span(source).subspan(window.source_offset, window.source_size)};
    std::vector<std::byte> bytes(window.size, std::byte{0xcd});
    pack_range(window.constant, sources, 0, bytes);
    const std::uint64_t piece = window.size / window.pieces;
    EXPECT_EQ(piece * window.pieces, window.size);
    for (std::uint64_t i = 0; i < window.pieces; ++i)
      std::memcpy(&out[window.offset + i * window.stride], &bytes[i * piece], piece);
    written += window.size;
  }
  EXPECT_EQ(written, size);
  return out;
}

std::vector<std::uint32_t> pack(const PackedConstant& constant,
                                const std::vector<std::vector<std::byte>>& data) {
  const auto size = packed_size(constant);
  EXPECT_TRUE(size.has_value()) << (size ? "" : size.error().message);
  std::vector<std::span<const std::byte>> sources(data.begin(), data.end());
  std::vector<std::byte> whole(*size, std::byte{0xcd});
  pack_range(constant, sources, 0, whole);
  // Any split into ranges gives the same bytes.
  std::mt19937 random(7);
  std::vector<std::byte> pieces(*size, std::byte{0xab});
  for (std::size_t at = 0; at < pieces.size();) {
    const std::size_t wanted = 16 * (1 + random() % (random() % 2 ? 5 : 300));
    const std::size_t n = std::min(wanted, pieces.size() - at);
    pack_range(constant, sources, at, std::span(pieces).subspan(at, n));
    at += n;
  }
  EXPECT_EQ(whole, pieces);
  EXPECT_EQ(whole, pack_by_windows(constant, data, *size));
  std::vector<std::uint32_t> words(*size / 4);
  std::memcpy(words.data(), whole.data(), whole.size());
  return words;
}

std::size_t panel_word(std::int64_t n, std::int64_t kw, std::int64_t words) {
  return static_cast<std::size_t>((n / kPanel * words + kw) * kPanel + n % kPanel);
}

float float_at(const std::vector<std::byte>& data, DType dtype, std::size_t i) {
  float value = 0;
  std::uint16_t half = 0;
  if (dtype == DType::Float32) {
    std::memcpy(&value, data.data() + 4 * i, 4);
    return value;
  }
  std::memcpy(&half, data.data() + 2 * i, 2);
  return half_bits_to_float(half);
}

float as_float(std::uint32_t word) { return std::bit_cast<float>(word); }

// A run of rows is what a matrix of these rows alone would be.
TEST(Packing, PanelsOfARunOfRows) {
  constexpr std::int64_t kRows = 150, kFirst = 40, kCount = 70, kDepth = 24;
  for (const Packing packing :
       {Packing::Q4Panels, Packing::Q8Panels, Packing::HalfPanels, Packing::FloatPanels}) {
    const DType dtype = packing == Packing::Q4Panels     ? DType::UInt8
                        : packing == Packing::Q8Panels   ? DType::Int8
                        : packing == Packing::HalfPanels ? DType::Float16
                                                         : DType::Float32;
    const PackedPart whole{0, dtype, Dims{kRows, kDepth}};
    const auto data = random_source(whole, 5);
    PackedPart run = whole, alone = whole;
    run.first_row = kFirst;
    run.rows = kCount;
    alone.dims = Dims{kCount, kDepth};
    const auto row_bytes = static_cast<std::ptrdiff_t>(kDepth * byte_size(dtype));
    const std::vector<std::byte> rows(data.begin() + kFirst * row_bytes,
                                      data.begin() + (kFirst + kCount) * row_bytes);
    EXPECT_EQ(pack({packing, {run}}, {data}), pack({packing, {alone}}, {rows})) << name(packing);
  }
}

TEST(Packing, PanelsOfRowsThatThereAreNot) {
  for (const auto& [first, rows] : {std::pair{-1, 2}, std::pair{3, 6}, std::pair{9, 0}}) {
    PackedPart part{0, DType::Float32, Dims{8, 4}};
    part.first_row = first;
    part.rows = rows;
    EXPECT_FALSE(packed_size({Packing::FloatPanels, {part}})) << first;
  }
}

TEST(Packing, WordsWidenEveryType) {
  for (const DType dtype : {DType::Bool, DType::UInt8, DType::Int8, DType::Int32, DType::Float16,
                            DType::Float32, DType::Float64, DType::Int64}) {
    const PackedPart part{0, dtype, Dims{3, 7}};
    const auto data = random_source(part, 3);
    const auto words = pack({Packing::Words, {part}}, {data});
    ASSERT_EQ(words.size(), 24u);
    for (std::size_t i = 0; i < 21; ++i) {
      const std::byte* at = data.data() + i * byte_size(dtype);
      if (dtype == DType::Bool) {
        EXPECT_EQ(words[i], *at != std::byte{0});
      } else if (dtype == DType::Int8) {
        EXPECT_EQ(static_cast<int>(words[i]), *reinterpret_cast<const std::int8_t*>(at));
      } else if (dtype == DType::Float16 || dtype == DType::Float32) {
        EXPECT_EQ(as_float(words[i]), float_at(data, dtype, i));
      }
    }
    for (std::size_t i = 21; i < 24; ++i) EXPECT_EQ(words[i], 0u);
  }
}

TEST(Packing, HalfPairs) {
  const PackedPart part{0, DType::Float32, Dims{5, 3}};
  const auto words = pack({Packing::HalfPairs, {part}}, {random_source(part, 5)});
  ASSERT_EQ(words.size(), 8u);
  EXPECT_EQ(words[7] >> 16, 0u);
}

TEST(Packing, BytesAreFourAWord) {
  for (const DType dtype : {DType::Int8, DType::UInt8}) {
    const PackedPart part{0, dtype, Dims{7, 9}};
    auto data = random_source(part, 5);
    const auto words = pack({Packing::Bytes, {part}}, {data});
    ASSERT_EQ(words.size(), 16u);
    data.resize(64);  // the rest of the last word is zeros
    EXPECT_EQ(std::memcmp(words.data(), data.data(), 64), 0);
  }
  EXPECT_FALSE(packed_size({Packing::Bytes, {PackedPart{0, DType::Int32, Dims{4}}}}));
}

TEST(Packing, BytesOfBoolAreZeroAndOne) {
  const PackedPart part{0, DType::Bool, Dims{3}};
  const auto words = pack({Packing::Bytes, {part}}, {{std::byte{2}, std::byte{0}, std::byte{255}}});
  EXPECT_EQ(words[0], 0x00010001u);
}

TEST(Packing, Q4PanelsOfStackedParts) {
  for (const bool high_first : {false, true}) {
    for (const std::int64_t bytes : {1, 3, 4, 16, 27, 72}) {
      PackedConstant constant{Packing::Q4Panels, {}};
      std::vector<std::vector<std::byte>> data;
      for (const std::int64_t rows : {1, 64, 70}) {
        constant.parts.push_back({0, DType::UInt8, Dims{rows, bytes}, high_first});
        data.push_back(
            random_bytes(source_size(constant.parts.back()), static_cast<unsigned>(rows)));
      }
      constant.parts[2].rows = 67;  // the exporter's padding rows are dropped
      const auto words = pack(constant, data);
      const std::int64_t kw = panel_words(Packing::Q4Panels, constant.parts[0]);
      ASSERT_EQ(kw, (2 * bytes + 7) / 8);
      ASSERT_EQ(words.size(), static_cast<std::size_t>(4 * kPanel * kw));
      std::int64_t start = 0;
      for (std::size_t p = 0; p < 3; ++p) {
        const std::int64_t rows = constant.parts[p].panel_rows();
        for (std::int64_t n = 0; n < (rows + 63) / 64 * 64; ++n) {
          for (std::int64_t k = 0; k < 8 * kw; ++k) {
            const std::uint32_t word = words[panel_word(start + n, k / 8, kw)];
            std::uint32_t expected = 8;
            if (n < rows && k < 2 * bytes) {
              const auto byte =
                  static_cast<std::uint32_t>(data[p][static_cast<std::size_t>(n * bytes + k / 2)]);
              expected = ((k % 2 != 0) != high_first) ? byte >> 4 : byte & 15;
            }
            ASSERT_EQ(word >> (4 * (k % 8)) & 15, expected) << "row " << n << " k " << k;
          }
        }
        start += (rows + 63) / 64 * 64;
      }
    }
  }
}

TEST(Packing, FloatAndHalfPanels) {
  for (const DType dtype : {DType::Float16, DType::Float32}) {
    for (const bool transposed : {false, true}) {
      for (const auto& [n, k] : {std::pair{1, 1}, {3, 5}, {64, 16}, {65, 33}, {200, 7}}) {
        const PackedPart part{0, dtype, transposed ? Dims{k, n} : Dims{n, k}, false, transposed};
        const auto data = random_source(part, 9);
        auto element = [&](std::int64_t row, std::int64_t depth) {
          const auto i = static_cast<std::size_t>(transposed ? depth * n + row : row * k + depth);
          return float_at(data, dtype, i);
        };
        const auto words = pack({Packing::FloatPanels, {part}}, {data});
        for (std::int64_t row = 0; row < n; ++row)
          for (std::int64_t d = 0; d < k; ++d)
            ASSERT_EQ(as_float(words[panel_word(row, d, k)]), element(row, d));
        if (dtype != DType::Float16) continue;
        const auto halves = pack({Packing::HalfPanels, {part}}, {data});
        for (std::int64_t row = 0; row < n; ++row)
          for (std::int64_t d = 0; d < (k + 1) / 2 * 2; ++d) {
            const std::uint32_t word = halves[panel_word(row, d / 2, (k + 1) / 2)];
            const auto half = static_cast<std::uint16_t>(word >> (16 * (d % 2)));
            ASSERT_EQ(half_bits_to_float(half), d < k ? element(row, d) : 0.0f);
          }
      }
    }
  }
}

// A weight of any size is packed in little memory.
TEST(Packing, WindowsAreSmall) {
  constexpr std::int64_t kRows = 1 << 17, kDepth = 1 << 12;
  constexpr std::uint64_t kMost = 4 << 20;
  for (const bool transposed : {false, true}) {
    for (const DType dtype : {DType::Float16, DType::Float32}) {
      PackedPart part{0, dtype, transposed ? Dims{kDepth, kRows} : Dims{kRows, kDepth}};
      part.transposed = transposed;
      for (const PackedWindow& window : packed_windows({Packing::FloatPanels, {part}}, kMost)) {
        ASSERT_LE(window.size, kMost);
        ASSERT_LE(window.source_size, kMost);
      }
    }
  }
}

TEST(Packing, RejectsWhatDoesNotFit) {
  const PackedPart weight{0, DType::UInt8, Dims{8, 4}};
  EXPECT_FALSE(packed_size({Packing::Q8Panels, {weight}}));
  EXPECT_FALSE(packed_size({Packing::HalfPanels, {weight}}));
  PackedPart part = weight;
  part.rows = 9;
  EXPECT_FALSE(packed_size({Packing::Q4Panels, {part}}));
  EXPECT_FALSE(packed_size({Packing::Q4Panels, {weight, {0, DType::UInt8, Dims{8, 5}}}}));
  EXPECT_FALSE(
      packed_size({Packing::Q4Panels, {{0, DType::UInt8, Dims{1, std::int64_t{1} << 59}}}}));
}

}  // namespace
}  // namespace etwebgpu
