// Embedding tables: rows of a matrix by index. Constant tables are read in the panels that linear
// layers use, so a table tied to the output projection is one buffer.
//
// An index outside the table gives a row of zeros: the device cannot raise PyTorch's IndexError,
// and nothing outside the table is read.
#include <algorithm>

#include "ops/families.h"
#include "ops/movement/lookup.h"
#include "ops/quantized/dequantized.h"

namespace etwebgpu {
namespace {

std::string_view element_kind(const Lookup& lookup) {
  if (!lookup.panels) return "words";
  switch (lookup.packing) {
    case Packing::Q4Panels:
      return "q4";
    case Packing::Q8Panels:
      return "q8";
    case Packing::HalfPanels:
      return "f16";
    default:
      return "f32";
  }
}

}  // namespace

// One dispatch for each piece of the table that fits a binding; a piece writes the rows it has, the
// first also the zeros.
Result<void> emit_lookup(LowerContext& c, const Lookup& l) {
  if (l.count * l.width == 0) return {};
  const std::uint64_t limit = c.capabilities().max_storage_binding;
  const std::int64_t words = l.panels ? div_up(l.width, panel_elements(l.packing)) : l.width;
  // Pieces are whole panels (64 rows), whose bytes suit every alignment, in a plain matrix too.
  const std::int64_t panels =
      storage_elements(Storage::F32, limit) / (kPanel * std::max(words, l.scale_stride));
  CHECK_OR_FAIL(panels >= 1, ErrorKind::NotSupported, "an embedding of ", l.width,
                " elements per row does not fit this device's storage binding of ", limit,
                " bytes");
  const std::uint32_t wg = c.workgroup_size(64);
  for (std::int64_t first = 0; first < l.rows; first += panels * kPanel) {
    const std::int64_t rows = std::min(panels * kPanel, l.rows - first);
    const auto piece = [&](std::int64_t row_words, std::int64_t piece_rows) {
      const bool whole = rows == l.rows;
      return whole ? ByteRange{} : elements_range(first * row_words, piece_rows * row_words);
    };
    KernelCall& k = c.emit("embedding");
    k.define("WG", wg).define("TABLE", element_kind(l)).define("SCALES", l.scales ? 1 : 0);
    k.define("ELEMENTS", l.panels ? panel_elements(l.packing) : 1);
    k.read("indices", l.indices);
    k.read("table", l.table, piece(words, l.panels ? round_up(rows, kPanel) : rows));
    if (l.scales) k.read("scales", *l.scales, piece(l.scale_stride, rows));
    k.write("out", l.out);
    k.params({{"count", l.count},
              {"width", l.width},
              {"words", words},
              {"rows", l.rows},
              {"first", first},
              {"bound_rows", rows},
              {"group_size", l.group_size},
              {"scale_stride", l.scale_stride}});
    k.groups(div_up<std::int64_t>(l.count * l.width, wg));
  }
  return {};
}

namespace {

// Sizes of the indices followed by the table's width.
Result<void> set_lookup_sizes(InferContext& c, const Dims& indices, std::int64_t width) {
  Dims out = indices;
  CHECK_OR_FAIL(out.rank() < kMaxRank, ErrorKind::NotSupported, "indices of rank ", out.rank(),
                " have no room for another dimension");
  out.push_back(width);
  return c.set_output(out);
}

Result<void> check_indices(const CallContext& c, std::size_t arg) {
  CHECK_OR_FAIL(c.dtype(arg) == DType::Int32 || c.dtype(arg) == DType::Int64,
                ErrorKind::InvalidProgram, "indices have the type ", name(c.dtype(arg)));
  return {};
}

// --- aten.embedding(weight [V, D], indices, padding index, scale grad, sparse) -> out [.., D] ---

Result<void> infer_embedding(InferContext& c) {
  const Dims& weight = c.sizes(0);
  TRY(check_indices(c, 1));
  CHECK_OR_FAIL(weight.rank() == 2, ErrorKind::InvalidProgram, "weight of sizes ",
                to_string(weight), " is not a matrix");
  return set_lookup_sizes(c, c.sizes(1), weight[1]);
}

// A table that was dequantized as the 8-bit integers that it was.
Result<void> take_bytes(LowerContext& c, Lookup& l, PackedPart& table) {
  const auto bytes = byte_matrix(c.graph().constants[static_cast<std::size_t>(table.constant)]);
  if (!bytes || bytes->elements.dims != table.dims) return {};
  table = bytes->elements;
  l.packing = Packing::Q8Panels;
  l.group_size = bytes->group;
  l.scale_stride = bytes->scales.dims[1];
  TRY_ASSIGN(l.scales, c.packed({Packing::Words, {bytes->scales}}));
  return {};
}

Result<void> lower_embedding(LowerContext& c) {
  Lookup l{.table = c.value(0), .indices = c.value(1), .out = c.output()};
  l.rows = c.sizes(0)[0];
  l.width = c.sizes(0)[1];
  l.count = c.sizes(1).numel();
  if (c.is_constant(0) && is_floating(c.dtype(0))) {
    l.panels = true;
    l.packing = c.dtype(0) == DType::Float16 ? Packing::HalfPanels : Packing::FloatPanels;
    TRY_ASSIGN(PackedPart part, c.part(0));
    TRY(take_bytes(c, l, part));
    part.rows = l.rows;
    TRY_ASSIGN(l.table, c.packed({l.packing, {part}}));
  }
  return emit_lookup(c, l);
}

// --- 4-bit tables ---

struct NibbleTable {
  std::size_t weight, scales, indices;
  std::int64_t group_size;
  bool high_nibble_first;
};

// Scales are [V, groups], or [V] for one group.
std::int64_t scale_groups(const Dims& scales) { return scales.rank() == 2 ? scales[1] : 1; }

Result<void> infer_nibbles(InferContext& c, const NibbleTable& t) {
  const Dims &weight = c.sizes(t.weight), &scales = c.sizes(t.scales);
  TRY(check_indices(c, t.indices));
  CHECK_OR_FAIL(weight.rank() == 2 && weight[1] >= 1, ErrorKind::InvalidProgram, "weight of sizes ",
                to_string(weight), " is not a matrix");
  const std::int64_t width = 2 * weight[1];
  CHECK_OR_FAIL(t.group_size > 0 && width % t.group_size == 0, ErrorKind::InvalidProgram,
                "the group size ", t.group_size, " does not divide the ", width,
                " elements of a row");
  CHECK_OR_FAIL((scales.rank() == 1 || scales.rank() == 2) && scales[0] >= weight[0] &&
                    scale_groups(scales) >= width / t.group_size,
                ErrorKind::InvalidProgram, "scales of sizes ", to_string(scales), " do not hold ",
                weight[0], " rows of ", width / t.group_size, " groups");
  return set_lookup_sizes(c, c.sizes(t.indices), width);
}

Result<void> lower_nibbles(LowerContext& c, const NibbleTable& t) {
  Lookup l{.indices = c.value(t.indices), .out = c.output()};
  l.rows = c.sizes(t.weight)[0];
  l.width = 2 * c.sizes(t.weight)[1];
  l.count = c.sizes(t.indices).numel();
  l.panels = true;
  l.packing = Packing::Q4Panels;
  l.group_size = t.group_size;
  l.scales = c.value(t.scales);
  l.scale_stride = scale_groups(c.sizes(t.scales));
  TRY_ASSIGN(PackedPart part, c.part(t.weight));
  part.rows = l.rows;
  part.high_nibble_first = t.high_nibble_first;
  TRY_ASSIGN(l.table, c.packed({l.packing, {part}}));
  return emit_lookup(c, l);
}

// et_vk.embedding_q4gsw(weight u8 [V, D/2], scales [V, D/G], G, indices, linear weight) -> out [..,
// D] value = nibble - 8; a linear layer's weight has the even element in the low nibble, others in
// the high.
NibbleTable q4gsw_table(const CallContext& c) { return {0, 1, 3, c.integer(2), !c.boolean(4)}; }
Result<void> infer_q4gsw(InferContext& c) { return infer_nibbles(c, q4gsw_table(c)); }
Result<void> lower_q4gsw(LowerContext& c) { return lower_nibbles(c, q4gsw_table(c)); }

// quantized_decomposed.embedding_4bit.dtype(weight u8 [V, D/2], scales, zero points or None, quant
// min,
//                                           quant max, indices, dtype) -> out [.., D]
// Only signed nibbles without zero points, as the exporter's own rewrite to the operator above
// requires.
NibbleTable decomposed_table(const CallContext& c) {
  const std::int64_t groups = std::max<std::int64_t>(scale_groups(c.sizes(1)), 1);
  const Dims& weight = c.sizes(0);
  return {0, 1, 5, weight.rank() == 2 ? 2 * weight[1] / groups : 0, true};
}

Result<void> infer_decomposed(InferContext& c) {
  CHECK_OR_FAIL(c.is_none(2), ErrorKind::NotSupported,
                "zero points of 4-bit embeddings are not supported");
  CHECK_OR_FAIL(c.integer(3) == -8 && c.integer(4) == 7, ErrorKind::NotSupported,
                "quantized values from ", c.integer(3), " to ", c.integer(4),
                " are not supported, only -8 to 7");
  return infer_nibbles(c, decomposed_table(c));
}
Result<void> lower_decomposed(LowerContext& c) { return lower_nibbles(c, decomposed_table(c)); }

constexpr Op kOps[] = {
    {"aten.embedding.default", "t t i i i > t", infer_embedding, lower_embedding},
    {"et_vk.embedding_q4gsw.default", "t t i t i > t", infer_q4gsw, lower_q4gsw},
    {"quantized_decomposed.embedding_4bit.dtype", "t t t? i i t _ > t", infer_decomposed,
     lower_decomposed},
};

}  // namespace

std::span<const Op> embedding_ops() { return kOps; }

}  // namespace etwebgpu
