// Operators that read by an index tensor, concatenate or pad.
#include <algorithm>
#include <array>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/movement/lookup.h"

namespace etwebgpu {
namespace {

constexpr std::uint32_t kWorkgroup = 64;

// --- index_select, index, gather: one coordinate of the source comes from an index tensor ---

std::string_view element_type(Element element) {
  return element == Element::I64 ? "vec2<u32>" : "u32";
}

// Emits with the output, or with memory of the source's element type that is then widened into it.
template <typename Emit>
void emit_moved(LowerContext& c, const Emit& emit) {
  const Element in = stored_element(c, 0);
  if (in == output_element(c)) return emit(c.output());
  const std::int64_t count = c.sizes_of(c.output_id()).numel();
  const BufferRef moved = c.scratch(count, storage_of(in));
  emit(moved);
  emit_copy(c, {moved, in}, 0, {{count, {1, 0, 0}}}, output_elements(c));
}

// Loop strides: 0 = source, 1 = index.
void emit_gather(LowerContext& c, ValueId index, std::size_t dim, const Loops& loops,
                 BufferRef out) {
  const Loops walk = coalesced(loops);
  const BufferRef indices = c.narrowed(index);
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  const Dims& in = c.sizes(0);
  const std::int64_t count = c.sizes_of(c.output_id()).numel();
  KernelCall& call = c.emit("gather");
  call.define("WG", wg).define("SPLITS", walk.size() - 1);
  call.define("T", element_type(stored_element(c, 0)));
  call.read("src", c.value(0)).read("index", indices).write("out", out);
  const bool scalar = in.rank() == 0;
  call.params({{"count", count},
               {"extent", scalar ? 1 : in[dim]},
               {"stride", scalar ? 1 : contiguous_strides(in)[dim]}});
  std::vector<Extents> extents;
  for (auto loop = walk.rbegin(); loop != walk.rend(); ++loop)
    extents.push_back({loop->size, loop->strides[0], loop->strides[1], 0});
  call.param_array("loops", extents);
  call.groups(div_up<std::int64_t>(count, wg));
}

Result<void> check_index(const InferContext& c, ValueId index, std::size_t dim) {
  const DType dtype = c.graph().tensor(index)->dtype;
  CHECK_OR_FAIL(dtype == DType::Int32 || dtype == DType::Int64, ErrorKind::NotSupported,
                "an index tensor of ", name(dtype), " is not supported");
  const Dims& in = c.sizes(0);
  const bool empty = in.rank() > 0 && in[dim] == 0;
  CHECK_OR_FAIL(!empty || c.sizes_of(index).numel() == 0, ErrorKind::InvalidArgument,
                "nothing can be read from dimension ", dim, " of sizes ", to_string(in));
  return {};
}

// Dimension `dim` of the source replaced by the index tensor's dimensions.
Result<void> infer_rows(InferContext& c, ValueId index, std::size_t dim) {
  TRY(check_index(c, index, dim));
  const Dims &in = c.sizes(0), &rows = c.sizes_of(index);
  CHECK_OR_FAIL(in.rank() + rows.rank() <= kMaxRank + 1, ErrorKind::NotSupported,
                "the output would have rank ", in.rank() + rows.rank() - 1);
  Dims out;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (d != dim) {
      out.push_back(in[d]);
      continue;
    }
    for (std::int64_t extent : rows) out.push_back(extent);
  }
  return c.set_output(out);
}

// Indices from 0 on: negative ones count from the end.
BufferRef wrapped(LowerContext& c, ValueId index, std::int64_t extent) {
  const std::int64_t count = c.sizes_of(index).numel();
  const Operand given{.kind = Operand::Kind::Tensor,
                      .element = Element::I32,
                      .as = Element::I32,
                      .buffer = c.narrowed(index)};
  const BufferRef out = c.scratch(count, Storage::I32);
  const Elementwise what{.expression = "select(a, a + x, a < 0)",
                         .out = Element::I32,
                         .x_type = Element::I32,
                         .x = Number(extent)};
  emit_elementwise(c, what, {&given, 1}, {{count, {1, 0, 0}}}, {out, Element::I32});
  return out;
}

// Rows of a source that no binding takes.
bool is_large_table(const LowerContext& c, std::size_t dim) {
  const std::uint64_t bytes = storage_bytes(c.storage(0), c.sizes(0).numel());
  return dim == 0 && bytes > c.capabilities().max_storage_binding && c.storage(0) == Storage::F32;
}

Result<void> lower_table_rows(LowerContext& c, ValueId index) {
  const Dims& in = c.sizes(0);
  const Elements out = output_elements(c);
  Lookup lookup{.table = c.value(0), .indices = wrapped(c, index, in[0]), .out = out.buffer};
  lookup.rows = in[0];
  lookup.width = in.product(1, in.rank());
  lookup.count = c.sizes_of(index).numel();
  return emit_lookup(c, lookup);
}

Result<void> lower_rows(LowerContext& c, ValueId index, std::size_t dim) {
  if (is_large_table(c, dim)) return lower_table_rows(c, index);
  const Dims& in = c.sizes(0);
  const Dims strides = contiguous_strides(in);
  Loops loops;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (d == dim) {
      loops.push_back({c.sizes_of(index).numel(), {0, 1, 0}});
    } else {
      loops.push_back({in[d], {strides[d], 0, 0}});
    }
  }
  emit_moved(c, [&](BufferRef out) { emit_gather(c, index, dim, loops, out); });
  return {};
}

Result<void> infer_index_select(InferContext& c) {
  TRY_ASSIGN(const std::size_t dim, c.dim(1, c.sizes(0).rank()));
  CHECK_OR_FAIL(c.sizes(0).rank() > 0 && c.sizes(2).rank() == 1, ErrorKind::NotSupported,
                "an index of sizes ", to_string(c.sizes(2)), " into sizes ", to_string(c.sizes(0)),
                " is not supported");
  return infer_rows(c, c.id(2), dim);
}

Result<void> lower_index_select(LowerContext& c) {
  TRY_ASSIGN(const std::size_t dim, c.dim(1, c.sizes(0).rank()));
  return lower_rows(c, c.id(2), dim);
}

// index.Tensor: the partitioner takes it with one index tensor, the other dimensions whole.
struct Indexed {
  ValueId index = kNoValue;
  std::size_t dim = 0;
};

Result<Indexed> only_index(const CallContext& c) {
  const auto items = c.value_list(1);
  Indexed out;
  std::size_t given = 0;
  for (std::size_t d = 0; d < items.size(); ++d) {
    if (c.graph().is_none(items[d])) continue;
    out = {items[d], d};
    ++given;
  }
  CHECK_OR_FAIL(given == 1 && out.dim < c.sizes(0).rank(), ErrorKind::NotSupported, given,
                " index tensors into sizes ", to_string(c.sizes(0)), ": exactly one is supported");
  return out;
}

Result<void> infer_index(InferContext& c) {
  TRY_ASSIGN(const Indexed indexed, only_index(c));
  return infer_rows(c, indexed.index, indexed.dim);
}

Result<void> lower_index(LowerContext& c) {
  TRY_ASSIGN(const Indexed indexed, only_index(c));
  return lower_rows(c, indexed.index, indexed.dim);
}

Result<void> infer_gather(InferContext& c) {
  const Dims &in = c.sizes(0), &index = c.sizes(2);
  TRY_ASSIGN(const std::size_t dim, c.dim(1, in.rank()));
  TRY(check_index(c, c.id(2), dim));
  bool fits = in.rank() == index.rank();
  for (std::size_t d = 0; fits && d < in.rank(); ++d) fits = d == dim || index[d] <= in[d];
  CHECK_OR_FAIL(fits, ErrorKind::InvalidArgument, "an index of sizes ", to_string(index),
                " does not fit sizes ", to_string(in));
  return c.set_output(index);
}

Result<void> lower_gather(LowerContext& c) {
  const Dims &in = c.sizes(0), &index = c.sizes(2);
  TRY_ASSIGN(const std::size_t dim, c.dim(1, in.rank()));
  const Dims strides = contiguous_strides(in), index_strides = contiguous_strides(index);
  Loops loops;
  for (std::size_t d = 0; d < index.rank(); ++d) {
    loops.push_back({index[d], {d == dim ? 0 : strides[d], index_strides[d], 0}});
  }
  emit_moved(c, [&](BufferRef out) { emit_gather(c, c.id(2), dim, loops, out); });
  return {};
}

// --- cat ---

// PyTorch lets an empty 1-D tensor take part in any concatenation.
bool is_skipped(const Dims& sizes) { return sizes.rank() == 1 && sizes[0] == 0; }

Result<void> infer_cat(InferContext& c) {
  const auto inputs = c.value_list(0);
  const Dims& bound = bound_of(c, c.output_id());
  TRY_ASSIGN(const std::size_t dim, c.dim(1, bound.rank()));
  Dims out;
  bool first = true;
  for (ValueId input : inputs) {
    const Dims& sizes = c.sizes_of(input);
    if (is_skipped(sizes)) continue;
    if (first) {
      CHECK_OR_FAIL(sizes.rank() == bound.rank() && sizes.rank() > 0, ErrorKind::InvalidProgram,
                    "sizes ", to_string(sizes), " cannot be concatenated to ", to_string(bound));
      out = sizes;
      first = false;
      continue;
    }
    bool fits = sizes.rank() == out.rank();
    for (std::size_t d = 0; fits && d < out.rank(); ++d) fits = d == dim || sizes[d] == out[d];
    CHECK_OR_FAIL(fits, ErrorKind::InvalidArgument, "sizes ", to_string(sizes), " and ",
                  to_string(out), " cannot be concatenated in dimension ", dim);
    out[dim] += sizes[dim];
  }
  if (first) out = Dims::filled(bound.rank(), 0);
  // Parts of unknown length stand at their bounds: x[:n] and x[n:] are then longer than x.
  if (c.at_load() && !first) out[dim] = std::min(out[dim], bound[dim]);
  return c.set_output(out);
}

// The non-empty inputs with the length of their rows: everything from the concatenated dimension
// on.
struct Row {
  ValueId input = kNoValue;
  BufferRef buffer = {};
  std::int64_t length = 0;
};

// The input as the output stores its elements.
BufferRef joinable(LowerContext& c, ValueId input) {
  const Element out = output_element(c);
  if (stored_element_of(c, input) == out) return c.value_of(input);
  const std::int64_t count = c.sizes_of(input).numel();
  const BufferRef converted = c.scratch(count, storage_of(out));
  emit_copy(c, elements_of(c, input), 0, {{count, {1, 0, 0}}}, {converted, out});
  return converted;
}

std::vector<Row> rows_to_join(LowerContext& c, std::size_t dim) {
  std::vector<Row> out;
  for (ValueId input : c.value_list(0)) {
    const Dims& sizes = c.sizes_of(input);
    if (sizes.numel() == 0) continue;
    out.push_back({input, joinable(c, input), sizes.product(dim, sizes.rank())});
  }
  return out;
}

constexpr Literal kSources[] = {"src0", "src1", "src2", "src3", "src4", "src5", "src6"};

void emit_cat(LowerContext& c, std::span<const Row> rows, std::int64_t out_row,
              std::int64_t out_start, std::int64_t unit, BufferRef out) {
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& call = c.emit("cat");
  const std::string_view type = unit == 4 ? "vec4<u32>" : element_type(output_element(c));
  call.define("WG", wg).define("N", rows.size()).define("T", type);
  std::array<Extents, 2> ends{};
  std::int64_t row = 0;
  for (std::size_t k = 0; k < rows.size(); ++k) {
    call.read(kSources[k], rows[k].buffer);
    ends[k / 4][k % 4] = row += rows[k].length / unit;
  }
  call.write("out", out);
  const std::int64_t count = c.sizes_of(c.output_id()).numel() / out_row * row;
  call.params({{"count", count},
               {"row", row},
               {"out_row", out_row / unit},
               {"out_start", out_start / unit}});
  call.param_array("ends", ends);
  call.groups(div_up<std::int64_t>(count, wg));
}

Result<void> lower_cat(LowerContext& c) {
  const Dims& out = c.sizes_of(c.output_id());
  TRY_ASSIGN(const std::size_t dim, c.dim(1, out.rank()));
  const std::vector<Row> rows = rows_to_join(c, dim);
  const std::int64_t out_row = out.product(dim, out.rank());
  if (out_row == 0) return {};
  const bool vectors = output_element(c) != Element::I64 &&
                       std::ranges::all_of(rows, [](const Row& r) { return r.length % 4 == 0; });
  const std::size_t most =
      std::min<std::size_t>(7, std::max(c.capabilities().max_storage_buffers, 2u) - 1);
  // Several dispatches into a buffer that is also read (a mutated one): all reads come first.
  const auto is_overwritten = [&](const Row& r) { return c.shares_memory(r.input, c.output_id()); };
  const bool detour = rows.size() > most && std::ranges::any_of(rows, is_overwritten);
  const BufferRef target =
      detour ? c.scratch(out.numel(), storage_of(output_element(c))) : c.output();
  std::int64_t start = 0;
  for (std::size_t k = 0; k < rows.size(); k += most) {
    const auto part = std::span(rows).subspan(k, std::min(most, rows.size() - k));
    emit_cat(c, part, out_row, start, vectors ? 4 : 1, target);
    for (const Row& row : part) start += row.length;
  }
  if (detour)
    emit_copy(c, {target, output_element(c)}, 0, {{out.numel(), {1, 0, 0}}}, output_elements(c));
  return {};
}

// --- constant_pad_nd: pairs (before, after) from the last dimension on; negative crops ---

Result<void> infer_pad(InferContext& c) {
  Dims out = c.sizes(0);
  const auto pads = c.int_list(1);
  CHECK_OR_FAIL(pads.size() % 2 == 0 && pads.size() <= 2 * out.rank(), ErrorKind::InvalidProgram,
                "padding ", list_text(pads), " does not fit sizes ", to_string(out));
  if (c.at_load() && holds_symint(c, 1)) return c.set_output(bound_of(c, c.output_id()));
  for (std::size_t p = 0; p < pads.size(); p += 2) {
    constexpr std::int64_t kMost = 1ll << 31;
    std::int64_t& extent = out[out.rank() - 1 - p / 2];
    const bool in_range = std::abs(std::clamp(pads[p], -kMost, kMost)) < kMost &&
                          std::abs(std::clamp(pads[p + 1], -kMost, kMost)) < kMost;
    if (in_range) extent += pads[p] + pads[p + 1];
    CHECK_OR_FAIL(in_range && extent >= 0, ErrorKind::InvalidArgument, "padding ", list_text(pads),
                  " does not fit sizes ", to_string(c.sizes(0)));
  }
  return c.set_output(out);
}

// The padding list in `lower`: its values are part of the plan.
std::vector<std::int64_t> baked_list(LowerContext& c, std::size_t arg) {
  if (const auto* list = std::get_if<ValueList>(&c.graph().value(c.id(arg)))) {
    for (ValueId item : list->items) c.bake(item);
  }
  return c.int_list(arg);
}

void emit_pad(LowerContext& c, BufferRef moved) {
  const Dims &in = c.sizes(0), &out = c.sizes_of(c.output_id());
  const auto pads = baked_list(c, 1);
  const Element element = stored_element(c, 0);
  const Number value =
      c.arg_count() > 3 ? stored_number(baked_number(c, 2), c.dtype(0)) : Number(0.0);
  const auto words = words_of(value, element);
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  const std::size_t loops = std::max<std::size_t>(out.rank(), 1);
  const std::int64_t count = out.numel();
  const Dims strides = contiguous_strides(in);
  KernelCall& call = c.emit("pad");
  call.define("WG", wg).define("LOOPS", loops).define("T", element_type(element));
  call.read("src", c.value(0)).write("out", moved);
  call.params({{"count", count}, {"value", words}});
  std::vector<Extents> extents;
  for (std::size_t d = out.rank(); d-- > 0;) {
    const std::size_t p = 2 * (out.rank() - 1 - d);
    extents.push_back({out[d], in[d], strides[d], p < pads.size() ? pads[p] : 0});
  }
  if (out.rank() == 0) extents.push_back({1, 1, 1, 0});
  call.param_array("loops", extents, ParamMember::Type::I32);
  call.groups(div_up<std::int64_t>(count, wg));
}

Result<void> lower_pad(LowerContext& c) {
  emit_moved(c, [&](BufferRef out) { emit_pad(c, out); });
  return {};
}

constexpr Op kOps[] = {
    wide_op("aten.cat.default", "v [i] > t", infer_cat, lower_cat),
    wide_op("aten.constant_pad_nd.default", "t l [f?] > t", infer_pad, lower_pad),
    wide_op("aten.gather.default", "t i t [_] > t", infer_gather, lower_gather),
    wide_op("aten.index.Tensor", "t o > t", infer_index, lower_index),
    wide_op("aten.index_select.default", "t i t > t", infer_index_select, lower_index_select),
};

}  // namespace

std::span<const Op> index_ops() { return kOps; }

}  // namespace etwebgpu
