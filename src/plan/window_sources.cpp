#include "plan/window_sources.h"

#include <optional>

#include "ops/quantized/dequantized.h"

namespace etwebgpu {
namespace {

const Constant& constant_of(const Graph& graph, std::int32_t index) {
  return graph.constants[static_cast<std::size_t>(index)];
}

// Elements, scales and zero points, as far as the file has them.
template <typename Visit>
void for_each_operand(const Graph& graph, const Dequantized& made, const Visit& visit) {
  visit(made.elements);
  if (!constant_of(graph, made.scales.constant).fill) visit(made.scales);
  if (made.zero_points) visit(*made.zero_points);
}

// Elements of the part's constant that a window takes.
Result<Stretch> stretch_of(const Dequantized& made, const PackedPart& part,
                           const PackedWindow& window) {
  const auto size = static_cast<std::int64_t>(byte_size(part.dtype));
  const Stretch out{static_cast<std::int64_t>(window.source_offset) / size,
                    static_cast<std::int64_t>(window.source_size) / size};
  const std::int64_t most = made.elements.bound.numel();
  CHECK_OR_FAIL(part.dtype == made.dtype && out.first + out.count <= most,
                ErrorKind::InvalidProgram, "constant ", part.constant, " (", name(part.dtype), " ",
                to_string(part.dims), ") is made of ", most, " elements");
  return out;
}

std::vector<std::byte> filled(float value, std::size_t bytes) {
  const std::vector<float> floats(bytes / sizeof(float), value);
  const auto out = std::as_bytes(std::span(floats));
  return {out.begin(), out.end()};
}

Result<std::vector<std::byte>> dequantized(const Graph& graph, const PackedPart& part,
                                           const PackedWindow& window,
                                           std::span<const std::byte> given) {
  const Dequantized& made = *constant_of(graph, part.constant).made;
  TRY_ASSIGN(const Stretch wanted, stretch_of(made, part, window));
  const Stretch blocks = blocks_of(made, wanted);
  const auto take = [&](const TensorInfo& of, std::int64_t count) {
    const auto out = given.first(static_cast<std::size_t>(count) * byte_size(of.dtype));
    given = given.subspan(out.size());
    return out;
  };
  const auto elements = take(made.elements, wanted.count);
  const std::optional<float> scale = constant_of(graph, made.scales.constant).fill;
  const std::vector<std::byte> same =
      scale ? filled(*scale, static_cast<std::size_t>(blocks.count) * sizeof(float))
            : std::vector<std::byte>();
  const auto scales = scale ? std::span(same) : take(made.scales, blocks.count);
  const auto zero_points =
      made.zero_points ? take(*made.zero_points, blocks.count) : std::span<const std::byte>();
  return dequantize(made, wanted, elements, scales, zero_points);
}

}  // namespace

std::vector<PartSource> part_sources(const Graph& graph, const PackedPart& part) {
  const Constant& constant = constant_of(graph, part.constant);
  if (constant.fill) return {};
  if (!constant.made) return {{part.constant, source_size(part)}};
  std::vector<PartSource> out;
  for_each_operand(graph, *constant.made, [&](const TensorInfo& operand) {
    out.push_back({operand.constant,
                   static_cast<std::uint64_t>(operand.bound.numel()) * byte_size(operand.dtype)});
  });
  return out;
}

Result<std::vector<SourceRange>> window_ranges(const Graph& graph, const PackedConstant& constant,
                                               const PackedWindow& window) {
  const PackedPart& part = constant.parts[window.part];
  const Constant& source = constant_of(graph, part.constant);
  std::vector<SourceRange> out;
  if (source.fill) return out;
  if (!source.made) return std::vector<SourceRange>{{window.source_offset, window.source_size}};
  TRY_ASSIGN(const Stretch elements, stretch_of(*source.made, part, window));
  const Stretch blocks = blocks_of(*source.made, elements);
  for_each_operand(graph, *source.made, [&](const TensorInfo& operand) {
    const auto& [first, count] = out.empty() ? elements : blocks;
    const std::uint64_t size = byte_size(operand.dtype);
    out.push_back(
        {static_cast<std::uint64_t>(first) * size, static_cast<std::uint64_t>(count) * size});
  });
  return out;
}

Result<void> pack_window(const Graph& graph, const PackedConstant& constant,
                         const PackedWindow& window, std::span<const std::byte> given,
                         std::span<std::byte> out) {
  TRY_ASSIGN(const std::vector<SourceRange> ranges, window_ranges(graph, constant, window));
  std::uint64_t needed = 0;
  for (const SourceRange& range : ranges) needed += range.size;
  CHECK_OR_FAIL(given.size() == needed && out.size() == window.size, ErrorKind::InvalidArgument,
                "the window makes ", window.size, " bytes of ", needed, ", not ", out.size(),
                " of ", given.size());
  const PackedPart& part = constant.parts[window.part];
  const Constant& source = constant_of(graph, part.constant);
  std::vector<std::byte> made;
  if (source.fill) {
    made = filled(*source.fill, static_cast<std::size_t>(window.source_size));
  } else if (source.made) {
    TRY_ASSIGN(made, dequantized(graph, part, window, given));
  }
  const std::span<const std::byte> sources[] = {source.fill || source.made ? std::span(made)
                                                                           : given};
  pack_range(window.constant, sources, 0, out);
  return {};
}

}  // namespace etwebgpu
