#include "ops/quantized/dequantized.h"

#include <algorithm>
#include <limits>

#include "base/elements.h"
#include "ops/quantized/affine.h"

namespace etwebgpu {
namespace {

std::vector<float> as_floats(DType dtype, std::span<const std::byte> bytes, std::int64_t count) {
  std::vector<float> out(static_cast<std::size_t>(count));
  visit_type(dtype, [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i] =
          static_cast<float>(number_of(element_at<T>(bytes.data(), static_cast<std::int64_t>(i))));
  });
  return out;
}

// The blocks of a row along the last dimension lie side by side: the first of row `row`.
std::int64_t first_block(const Dims& sizes, const Dims& blocks, std::int64_t row) {
  const Dims strides = contiguous_strides(block_counts(sizes, blocks));
  std::int64_t block = 0;
  for (std::size_t d = sizes.rank() - 1; d-- > 0;) {
    block += row % sizes[d] / blocks[d] * strides[d];
    row /= sizes[d];
  }
  return block;
}

// Elements [begin, end), all of one row, the blocks of which are `run` long and begin with
// `first_block` at `row`.
struct RowPiece {
  std::int64_t begin, end, row, first_block, run;
  std::int64_t block(std::int64_t element) const { return first_block + (element - row) / run; }
};

template <typename Visit>
void for_each_row(const Dequantized& made, Stretch wanted, const Visit& visit) {
  const bool is_scalar = made.elements.bound.empty();
  const Dims sizes = is_scalar ? Dims{1} : made.elements.bound;
  const Dims blocks = is_scalar ? Dims{1} : made.blocks;
  const std::int64_t columns = sizes.back(), end = wanted.first + wanted.count;
  for (std::int64_t at = wanted.first; at < end;) {
    const std::int64_t row = at / columns;
    const std::int64_t stop = std::min((row + 1) * columns, end);
    visit(RowPiece{at, stop, row * columns, first_block(sizes, blocks, row), blocks.back()});
    at = stop;
  }
}

}  // namespace

Stretch blocks_of(const Dequantized& made, Stretch elements) {
  if (elements.count == 0) return {};
  std::int64_t first = std::numeric_limits<std::int64_t>::max(), end = 0;
  for_each_row(made, elements, [&](const RowPiece& piece) {
    first = std::min(first, piece.block(piece.begin));
    end = std::max(end, piece.block(piece.end - 1) + 1);
  });
  return {first, end - first};
}

std::vector<std::byte> dequantize(const Dequantized& made, Stretch wanted,
                                  std::span<const std::byte> elements,
                                  std::span<const std::byte> scales,
                                  std::span<const std::byte> zero_points) {
  const Stretch blocks = blocks_of(made, wanted);
  std::vector<float> out = as_floats(made.elements.dtype, elements, wanted.count);
  const std::vector<float> scale = as_floats(made.scales.dtype, scales, blocks.count);
  const std::vector<float> zero_point =
      made.zero_points ? as_floats(made.zero_points->dtype, zero_points, blocks.count)
                       : std::vector(scale.size(), static_cast<float>(made.zero_point));
  for_each_row(made, wanted, [&](const RowPiece& piece) {
    for (std::int64_t element = piece.begin; element < piece.end; ++element) {
      const auto block = static_cast<std::size_t>(piece.block(element) - blocks.first);
      float& value = out[static_cast<std::size_t>(element - wanted.first)];
      value = (value - zero_point[block]) * scale[block];
    }
  });
  std::vector<std::byte> bytes(out.size() * byte_size(made.dtype));
  load_elements(Storage::F32, reinterpret_cast<const std::byte*>(out.data()),
                static_cast<std::int64_t>(out.size()), made.dtype, bytes.data());
  return bytes;
}

std::optional<ByteMatrix> byte_matrix(const Constant& constant) {
  const auto& made = constant.made;
  if (!made || made->zero_points || made->zero_point != 0) return std::nullopt;
  const TensorInfo& bytes = made->elements;
  if (bytes.dtype != DType::Int8 || bytes.bound.rank() != 2 || bytes.bound.numel() == 0 ||
      made->blocks[0] != 1)
    return std::nullopt;
  const std::int64_t group = made->blocks[1];
  return ByteMatrix{.elements = {bytes.constant, bytes.dtype, bytes.bound},
                    .scales = {made->scales.constant, made->scales.dtype,
                               Dims{bytes.bound[0], bytes.bound[1] / group}},
                    .group = group};
}

}  // namespace etwebgpu
