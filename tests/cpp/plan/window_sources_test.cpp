// Windows of constants that are made of others, beside the constant made as a whole.
#include "plan/window_sources.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "ops/quantized/affine.h"
#include "ops/quantized/dequantized.h"

namespace etwebgpu {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  Bytes out(static_cast<std::size_t>(count));
  for (std::byte& byte : out) byte = static_cast<std::byte>(random() & 255);
  return out;
}

// Small numbers, so that products are floats that one can compare.
Bytes random_floats(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> floats(static_cast<std::size_t>(count));
  for (float& value : floats) value = static_cast<float>(random() % 64) / 64;
  const auto bytes = std::as_bytes(std::span(floats));
  return {bytes.begin(), bytes.end()};
}

struct Case {
  Dims sizes, blocks;
  Packing packing = Packing::Words;
  DType dtype = DType::Float32;
  bool has_zero_points = true, has_scales = true, transposed = false;
};

// Constants 0 to 2 are elements, scales and zero points; 3 is made of them.
class Made {
 public:
  explicit Made(const Case& of) {
    const Dims counts = block_counts(of.sizes, of.blocks);
    contents_ = {random_bytes(of.sizes.numel(), 1), random_floats(counts.numel(), 2),
                 random_bytes(counts.numel(), 3)};
    graph.constants.resize(4);
    Dequantized made{.dtype = of.dtype,
                     .elements = {.dtype = DType::Int8, .bound = of.sizes, .constant = 0},
                     .scales = {.bound = counts, .constant = 1},
                     .zero_point = 5,
                     .blocks = of.blocks};
    if (of.has_zero_points) {
      made.zero_points.emplace();
      *made.zero_points = {.dtype = DType::Int8, .bound = counts, .constant = 2};
    }
    if (!of.has_scales) {
      graph.constants[1].fill = 0.5f;
      const std::vector<float> halves(static_cast<std::size_t>(counts.numel()), 0.5f);
      const auto bytes = std::as_bytes(std::span(halves));
      contents_[1].assign(bytes.begin(), bytes.end());
    }
    whole = dequantize(made, contents_[0], contents_[1], contents_[2]);
    graph.constants[3].made = made;
    constant = {
        of.packing,
        {PackedPart{
            .constant = 3, .dtype = of.dtype, .dims = of.sizes, .transposed = of.transposed}}};
  }

  // The bytes that a window asks for.
  Bytes given(const PackedWindow& window) const {
    const auto sources = part_sources(graph, constant.parts[0]);
    const auto ranges = window_ranges(graph, constant, window);
    Bytes out;
    EXPECT_TRUE(ranges && ranges->size() == sources.size());
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const auto& [offset, size] = (*ranges)[i];
      EXPECT_LE(offset + size, sources[i].bytes);
      const Bytes& from = contents_[static_cast<std::size_t>(sources[i].constant)];
      const auto begin = from.begin() + static_cast<std::ptrdiff_t>(offset);
      out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(size));
    }
    return out;
  }

  Graph graph;
  PackedConstant constant;
  Bytes whole;  // as floats

 private:
  std::vector<Bytes> contents_;
};

class WindowSources : public testing::TestWithParam<Case> {};

TEST_P(WindowSources, MakeWhatTheWholeConstantMakes) {
  const Made made(GetParam());
  const auto total = packed_size(made.constant);
  ASSERT_TRUE(total) << total.error().message;
  Bytes expected(*total);
  const std::span<const std::byte> source[] = {made.whole};
  pack_range(made.constant, source, 0, expected);
  for (const std::uint64_t most : {16, 48, 1024, 1 << 20}) {
    Bytes packed(*total);
    for (const PackedWindow& window : packed_windows(made.constant, most)) {
      Bytes out(window.size);
      const auto done = pack_window(made.graph, made.constant, window, made.given(window), out);
      ASSERT_TRUE(done) << done.error().message;
      const std::size_t piece = window.size / window.pieces;
      for (std::size_t i = 0; i < window.pieces; ++i)
        std::ranges::copy(
            std::span(out).subspan(i * piece, piece),
            packed.begin() + static_cast<std::ptrdiff_t>(window.offset + i * window.stride));
    }
    EXPECT_EQ(packed, expected) << "in windows of " << most;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, WindowSources,
    testing::Values(Case{.sizes = {70, 24}, .blocks = {1, 8}},
                    Case{.sizes = {6, 7}, .blocks = {2, 7}, .has_zero_points = false},
                    Case{.sizes = {4, 6, 5, 3}, .blocks = {2, 3, 1, 3}},
                    Case{.sizes = {9}, .blocks = {3}, .dtype = DType::Float16},
                    Case{.sizes = {}, .blocks = {}}, Case{.sizes = {0, 4}, .blocks = {1, 4}},
                    Case{.sizes = {5, 8}, .blocks = {1, 8}, .has_scales = false},
                    Case{.sizes = {130, 33}, .blocks = {1, 33}, .packing = Packing::FloatPanels},
                    Case{.sizes = {33, 130},
                         .blocks = {1, 130},
                         .packing = Packing::FloatPanels,
                         .transposed = true},
                    Case{.sizes = {66, 10},
                         .blocks = {3, 5},
                         .packing = Packing::HalfPanels,
                         .dtype = DType::Float16}));

TEST(WindowSourcesOfOneNumber, AreNone) {
  Graph graph;
  graph.constants.push_back({.length = 80, .fill = 0.25f});
  const PackedConstant constant{Packing::Words, {PackedPart{.constant = 0, .dims = {20}}}};
  EXPECT_TRUE(part_sources(graph, constant.parts[0]).empty());
  for (const PackedWindow& window : packed_windows(constant, 32)) {
    Bytes out(window.size);
    ASSERT_TRUE(pack_window(graph, constant, window, {}, out));
    float first = 0;
    std::memcpy(&first, out.data(), sizeof first);
    EXPECT_EQ(first, 0.25f);
  }
}

TEST(WindowSourcesMistakes, AreSentences) {
  Made made({.sizes = {8, 8}, .blocks = {1, 8}});
  const std::vector<PackedWindow> windows = packed_windows(made.constant, 64);
  Bytes out(windows[0].size), given = made.given(windows[0]);
  given.pop_back();
  EXPECT_FALSE(pack_window(made.graph, made.constant, windows[0], given, out));
  made.constant.parts[0].dims = {9, 8};  // more than there is
  const PackedWindow last = packed_windows(made.constant, 64).back();
  const auto ranges = window_ranges(made.graph, made.constant, last);
  ASSERT_FALSE(ranges);
  EXPECT_NE(ranges.error().message.find("made of 64 elements"), std::string::npos);
}

}  // namespace
}  // namespace etwebgpu
