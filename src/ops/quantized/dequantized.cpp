#include "ops/quantized/dequantized.h"

#include "base/elements.h"
#include "ops/quantized/affine.h"

namespace etwebgpu {
namespace {

std::vector<float> as_floats(const TensorInfo& tensor, std::span<const std::byte> bytes) {
  std::vector<float> out(static_cast<std::size_t>(tensor.bound.numel()));
  visit_type(tensor.dtype, [&]<typename T>(T) {
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

}  // namespace

std::vector<std::byte> dequantize(const Dequantized& made, std::span<const std::byte> elements,
                                  std::span<const std::byte> scales,
                                  std::span<const std::byte> zero_points) {
  const bool is_scalar = made.elements.bound.empty();
  const Dims sizes = is_scalar ? Dims{1} : made.elements.bound;
  const Dims blocks = is_scalar ? Dims{1} : made.blocks;
  std::vector<float> out = as_floats(made.elements, elements);
  const std::vector<float> scale = as_floats(made.scales, scales);
  const std::vector<float> zero_point =
      made.zero_points ? as_floats(*made.zero_points, zero_points)
                       : std::vector(scale.size(), static_cast<float>(made.zero_point));
  const auto columns = static_cast<std::size_t>(sizes.back());
  const auto run = static_cast<std::size_t>(blocks.back());
  for (std::size_t at = 0; at < out.size(); at += columns) {
    const auto first = static_cast<std::size_t>(
        first_block(sizes, blocks, static_cast<std::int64_t>(at / columns)));
    for (std::size_t k = 0; k < columns; ++k) {
      const std::size_t block = first + k / run;
      out[at + k] = (out[at + k] - zero_point[block]) * scale[block];
    }
  }
  std::vector<std::byte> bytes(out.size() * byte_size(made.dtype));
  load_elements(Storage::F32, reinterpret_cast<const std::byte*>(out.data()),
                static_cast<std::int64_t>(out.size()), made.dtype, bytes.data());
  return bytes;
}

}  // namespace etwebgpu
