// Operators that move elements without computing. Views share memory where they can (is_view); the
// rest walk the output and read the source with strides (emit_copy).
#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <vector>

#include "ops/arguments.h"
#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/movement/pixel_shuffle.h"
#include "ops/movement/strided.h"

namespace etwebgpu {
namespace {

constexpr Op moving(std::string_view name, std::string_view signature,
                    Result<void> (*infer)(InferContext&), Result<void> (*lower)(LowerContext&)) {
  return {.name = name,
          .signature = signature,
          .infer = infer,
          .lower = lower,
          .takes = {.i64 = kAllArgs, .bytes = kAllArgs}};
}

// --- Views ---

Result<void> lower_view(LowerContext& c) { return lower_convert(c, 0); }

Result<void> infer_same(InferContext& c) { return c.set_output(c.sizes(0)); }

// The sizes list of a view with its -1 resolved.
Result<Dims> resolve_view(const InferContext& c, std::span<const std::int64_t> list) {
  const std::int64_t numel = c.sizes(0).numel();
  std::int64_t known = 1;
  std::ptrdiff_t open = -1;
  for (std::size_t d = 0; d < list.size(); ++d) {
    if (list[d] != -1) {
      known *= list[d];
      continue;
    }
    CHECK_OR_FAIL(open < 0, ErrorKind::InvalidProgram, "sizes ", list_text(list),
                  " hold more than one -1");
    open = static_cast<std::ptrdiff_t>(d);
  }
  Dims out(list);
  if (open >= 0 && known > 0) out[static_cast<std::size_t>(open)] = numel / known;
  const bool fits = open < 0 ? known == numel : known > 0 && numel % known == 0;
  CHECK_OR_FAIL(fits, ErrorKind::InvalidArgument, "a tensor of sizes ", to_string(c.sizes(0)),
                " cannot be viewed as ", list_text(list));
  return out;
}

Result<void> infer_view(InferContext& c) {
  if (c.at_load() && holds_symint(c, 1)) return c.set_output(bound_of(c, c.output_id()));
  const auto list = c.int_list(1);
  TRY(check_sizes(c, list, true));
  TRY_ASSIGN(const Dims sizes, resolve_view(c, list));
  return c.set_output(sizes);
}

// Whether a listed dimension goes is fixed by its recorded size: the output's rank was.
Result<void> infer_squeeze(InferContext& c) {
  const std::size_t rank = c.sizes(0).rank();
  std::array<bool, kMaxRank> drop{};
  for (std::int64_t item : c.int_list(1)) {
    TRY_ASSIGN(const std::size_t d, CallContext::normalize_dim(item, rank));
    drop[d] = d < rank && c.bound(0)[d] == 1;
  }
  Dims out;
  for (std::size_t d = 0; d < rank; ++d) {
    if (!drop[d]) out.push_back(c.sizes(0)[d]);
  }
  return c.set_output(out);
}

Result<void> infer_unsqueeze(InferContext& c) {
  const Dims& in = c.sizes(0);
  CHECK_OR_FAIL(in.rank() < kMaxRank, ErrorKind::NotSupported, "the output would have rank ",
                in.rank() + 1, ", but ", kMaxRank, " is the most");
  TRY_ASSIGN(const std::size_t at, c.dim(1, in.rank() + 1));
  Dims out;
  for (std::size_t d = 0; d <= in.rank(); ++d) {
    if (d == at) out.push_back(1);
    if (d < in.rank()) out.push_back(in[d]);
  }
  return c.set_output(out);
}

// copy(self, src): src broadcast to self's sizes.
Result<void> infer_copy(InferContext& c) {
  TRY_ASSIGN(const Dims sizes, broadcast(c.sizes(0), c.sizes(1)));
  CHECK_OR_FAIL(sizes == c.sizes(0), ErrorKind::InvalidArgument, "sizes ", to_string(c.sizes(1)),
                " do not broadcast to ", to_string(c.sizes(0)));
  return c.set_output(sizes);
}

Result<void> lower_copy(LowerContext& c) {
  const Element out = output_element(c);
  const Operand source = operand(c, 1, out);
  emit_broadcast(c, {.expression = "a", .out = out, .x_type = out}, {&source, 1}, {&c.sizes(1), 1});
  return {};
}

// --- Permutations ---

using Permutation = std::array<std::size_t, kMaxRank>;

Result<Permutation> listed_permutation(const CallContext& c) {
  const std::size_t rank = c.sizes(0).rank();
  const auto list = c.int_list(1);
  CHECK_OR_FAIL(list.size() == rank, ErrorKind::InvalidProgram, "the permutation ", list_text(list),
                " does not fit sizes ", to_string(c.sizes(0)));
  Permutation out{};
  std::array<bool, kMaxRank> seen{};
  for (std::size_t d = 0; d < rank; ++d) {
    TRY_ASSIGN(out[d], CallContext::normalize_dim(list[d], rank));
    CHECK_OR_FAIL(!seen[out[d]], ErrorKind::InvalidProgram, "the permutation ", list_text(list),
                  " names dimension ", out[d], " twice");
    seen[out[d]] = true;
  }
  return out;
}

Result<Permutation> swapped(const CallContext& c) {
  const std::size_t rank = c.sizes(0).rank();
  Permutation out{};
  for (std::size_t d = 0; d < rank; ++d) out[d] = d;
  if (rank == 0) return out;
  TRY_ASSIGN(const std::size_t first, c.dim(1, rank));
  TRY_ASSIGN(const std::size_t second, c.dim(2, rank));
  std::swap(out[first], out[second]);
  return out;
}

Result<Permutation> transposed(const CallContext& c) {
  const std::size_t rank = c.sizes(0).rank();
  CHECK_OR_FAIL(rank <= 2, ErrorKind::InvalidProgram, "a tensor of rank ", rank,
                " has no transpose");
  return rank < 2 ? Permutation{0} : Permutation{1, 0};
}

template <Result<Permutation> (*permutation)(const CallContext&)>
Result<void> infer_permute(InferContext& c) {
  TRY_ASSIGN(const Permutation order, permutation(c));
  Dims out;
  for (std::size_t d = 0; d < c.sizes(0).rank(); ++d) out.push_back(c.sizes(0)[order[d]]);
  return c.set_output(out);
}

template <Result<Permutation> (*permutation)(const CallContext&)>
Result<void> lower_permute(LowerContext& c) {
  TRY_ASSIGN(const Permutation order, permutation(c));
  const Dims strides = contiguous_strides(c.sizes(0));
  Loops loops;
  for (std::size_t d = 0; d < c.sizes(0).rank(); ++d) {
    loops.push_back({c.sizes(0)[order[d]], {strides[order[d]], 0, 0}});
  }
  emit_copy(c, elements_of(c, c.id(0)), 0, loops, output_elements(c));
  return {};
}

template <Result<Permutation> (*permutation)(const CallContext&)>
constexpr Op permuting(std::string_view name, std::string_view signature) {
  return moving(name, signature, infer_permute<permutation>, lower_permute<permutation>);
}

template <Result<Permutation> (*permutation)(const CallContext&)>
std::optional<Strided> permuted(const CallContext& c, const Strided& in) {
  const auto order = permutation(c);
  if (!order) return std::nullopt;
  Strided out{.sizes = {}, .strides = {}, .first = in.first};
  for (std::size_t d = 0; d < in.sizes.rank(); ++d) {
    out.sizes.push_back(in.sizes[(*order)[d]]);
    out.strides.push_back(in.strides[(*order)[d]]);
  }
  return out;
}

// --- slice, select ---

// Negative counts from the end; then clamped, as PyTorch does with both ends of a slice.
std::int64_t clamped_index(std::int64_t index, std::int64_t extent) {
  return std::clamp<std::int64_t>(index < 0 ? index + extent : index, 0, extent);
}

Result<void> infer_slice(InferContext& c) {
  TRY_ASSIGN(const std::size_t d, c.dim(1, c.sizes(0).rank()));
  CHECK_OR_FAIL(c.sizes(0).rank() > 0, ErrorKind::InvalidProgram,
                "a tensor of rank 0 cannot be sliced");
  Dims out = c.sizes(0);
  const bool unknown = c.is_symint(2) || c.is_symint(3) || c.is_symint(4);
  if (c.at_load() && unknown) {
    const Dims& bound = bound_of(c, c.output_id());
    if (d < bound.rank()) out[d] = bound[d];
    return c.set_output(out);
  }
  const std::int64_t step = c.integer_or(4, 1);
  CHECK_OR_FAIL(step > 0, ErrorKind::InvalidProgram, "step ", step, " must be positive");
  const std::int64_t start = clamped_index(c.integer_or(2, 0), out[d]);
  const std::int64_t end =
      clamped_index(c.integer_or(3, std::numeric_limits<std::int64_t>::max()), out[d]);
  out[d] = end > start ? div_up(end - start, step) : 0;
  return c.set_output(out);
}

// A start that is a position is bound live: the plan does not depend on it.
Result<void> lower_slice(LowerContext& c) {
  TRY_ASSIGN(const std::size_t d, c.dim(1, c.sizes(0).rank()));
  const Dims& out = c.sizes_of(c.output_id());
  Dims strides = contiguous_strides(c.sizes(0));
  const std::int64_t stride = strides[d], extent = c.sizes(0)[d];
  const std::int64_t step = c.is_none(4) ? 1 : c.bake(c.id(4));
  strides[d] *= std::min(step, std::max<std::int64_t>(extent, 1));
  const Loops loops = copy_loops(out, {strides.begin(), strides.end()});
  if (c.is_symint(2)) {
    emit_copy(c, elements_of(c, c.id(0)), 0, loops, output_elements(c), {c.id(2), extent, stride});
  } else {
    emit_copy(c, elements_of(c, c.id(0)), clamped_index(c.integer_or(2, 0), extent) * stride, loops,
              output_elements(c));
  }
  return {};
}

Result<void> infer_select(InferContext& c) {
  const Dims& in = c.sizes(0);
  CHECK_OR_FAIL(in.rank() > 0, ErrorKind::InvalidProgram,
                "a tensor of rank 0 has nothing to select");
  TRY_ASSIGN(const std::size_t at, c.dim(1, in.rank()));
  const std::int64_t index = c.integer(2);
  const bool unknown = c.at_load() && c.is_symint(2);
  CHECK_OR_FAIL(unknown || (index >= -in[at] && index < in[at]), ErrorKind::InvalidArgument,
                "index ", index, " is outside dimension ", at, " of sizes ", to_string(in));
  Dims out;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (d != at) out.push_back(in[d]);
  }
  return c.set_output(out);
}

Result<void> lower_select(LowerContext& c) {
  const Dims& in = c.sizes(0);
  TRY_ASSIGN(const std::size_t at, c.dim(1, in.rank()));
  const Dims strides = contiguous_strides(in);
  Loops loops;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (d != at) loops.push_back({in[d], {strides[d], 0, 0}});
  }
  if (c.is_symint(2)) {
    emit_copy(c, elements_of(c, c.id(0)), 0, loops, output_elements(c),
              {c.id(2), in[at], strides[at]});
  } else {
    emit_copy(c, elements_of(c, c.id(0)), clamped_index(c.integer(2), in[at]) * strides[at], loops,
              output_elements(c));
  }
  return {};
}

std::optional<Strided> selected(const CallContext& c, const Strided& in) {
  const auto at = c.dim(1, in.sizes.rank());
  if (!at || in.sizes.empty() || c.is_symint(2)) return std::nullopt;
  const std::int64_t extent = in.sizes[*at], index = clamped_index(c.integer(2), extent);
  Strided out{.sizes = {}, .strides = {}, .first = in.first + index * in.strides[*at]};
  for (std::size_t d = 0; d < in.sizes.rank(); ++d) {
    if (d == *at) continue;
    out.sizes.push_back(in.sizes[d]);
    out.strides.push_back(in.strides[d]);
  }
  return out;
}

// --- split ---

Result<void> infer_split(InferContext& c) {
  const auto outputs = c.value_list(c.output_arg());
  const auto parts = c.int_list(1);
  TRY_ASSIGN(const std::size_t d, c.dim(2, c.sizes(0).rank()));
  CHECK_OR_FAIL(c.sizes(0).rank() > 0, ErrorKind::InvalidProgram,
                "a tensor of rank 0 cannot be split");
  CHECK_OR_FAIL(parts.size() == outputs.size(), ErrorKind::InvalidProgram, parts.size(),
                " split sizes, but ", outputs.size(), " outputs");
  const bool unknown = c.at_load() && holds_symint(c, 1);
  std::int64_t rest = c.sizes(0)[d];
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const Dims& bound = bound_of(c, outputs[k]);
    Dims out = c.sizes(0);
    if (d < bound.rank()) out[d] = unknown ? bound[d] : parts[k];
    CHECK_OR_FAIL(unknown || (parts[k] >= 0 && parts[k] <= rest), ErrorKind::InvalidArgument,
                  "split sizes ", list_text(parts), " do not fit dimension ", d, " of sizes ",
                  to_string(c.sizes(0)));
    rest -= out[d];
    TRY(c.set_sizes(outputs[k], out));
  }
  CHECK_OR_FAIL(unknown || rest == 0, ErrorKind::InvalidArgument, "split sizes ", list_text(parts),
                " leave ", rest, " of dimension ", d, " of sizes ", to_string(c.sizes(0)));
  return {};
}

Result<void> lower_split(LowerContext& c) {
  TRY_ASSIGN(const std::size_t d, c.dim(2, c.sizes(0).rank()));
  const Dims strides = contiguous_strides(c.sizes(0));
  std::int64_t start = 0;
  for (ValueId output : c.value_list(c.output_arg())) {
    const Dims& out = c.sizes_of(output);
    emit_copy(c, elements_of(c, c.id(0)), start * strides[d],
              copy_loops(out, {strides.begin(), strides.end()}), elements_of(c, output));
    start += out[d];
  }
  return {};
}

// --- expand, repeat, flip, unfold, pixel_shuffle ---

Result<void> infer_expand(InferContext& c) {
  const Dims& in = c.sizes(0);
  if (c.at_load() && holds_symint(c, 1)) return c.set_output(bound_of(c, c.output_id()));
  auto list = c.int_list(1);
  TRY(check_sizes(c, list, true));
  CHECK_OR_FAIL(list.size() >= in.rank(), ErrorKind::InvalidProgram, "sizes ", to_string(in),
                " cannot expand to ", list_text(list));
  const std::size_t lead = list.size() - in.rank();
  for (std::size_t d = 0; d < list.size(); ++d) {
    const std::int64_t from = d < lead ? 1 : in[d - lead];
    if (list[d] == -1 && d >= lead) list[d] = from;
    CHECK_OR_FAIL(list[d] >= 0 && (from == 1 || from == list[d]), ErrorKind::InvalidArgument,
                  "sizes ", to_string(in), " cannot expand to ", list_text(list));
  }
  return c.set_output(Dims(list));
}

Result<void> lower_expand(LowerContext& c) {
  const Element out = output_element(c);
  const Operand source = operand(c, 0, out);
  emit_broadcast(c, {.expression = "a", .out = out, .x_type = out}, {&source, 1}, {&c.sizes(0), 1});
  return {};
}

Result<void> infer_repeat(InferContext& c) {
  const Dims& in = c.sizes(0);
  const Dims& bound = bound_of(c, c.output_id());
  if (c.at_load() && holds_symint(c, 1)) return c.set_output(bound);
  auto list = c.int_list(1);
  CHECK_OR_FAIL(list.size() >= in.rank() && list.size() == bound.rank(), ErrorKind::InvalidProgram,
                "sizes ", to_string(in), " cannot repeat ", list_text(list), " times");
  const std::size_t lead = list.size() - in.rank();
  for (std::size_t d = 0; d < list.size(); ++d) {
    const std::int64_t from = d < lead ? 1 : in[d - lead];
    const auto product = checked_mul(list[d], from);
    CHECK_OR_FAIL(list[d] >= 0 && product, ErrorKind::InvalidArgument, "sizes ", to_string(in),
                  " cannot repeat ", list[d], " times in dimension ", d);
    list[d] = *product;
  }
  return c.set_output(Dims(list));
}

// Each output dimension is two loops: the repeats, and the source's own extent.
Result<void> lower_repeat(LowerContext& c) {
  const Dims& in = c.sizes(0);
  const Dims& out = c.sizes_of(c.output_id());
  const Dims strides = contiguous_strides(in);
  const std::size_t lead = out.rank() - in.rank();
  Loops loops;
  for (std::size_t d = 0; d < out.rank(); ++d) {
    const std::int64_t from = d < lead ? 1 : in[d - lead];
    loops.push_back({from == 0 ? 0 : out[d] / from});
    if (d >= lead) loops.push_back({from, {strides[d - lead], 0, 0}});
  }
  emit_copy(c, elements_of(c, c.id(0)), 0, loops, output_elements(c));
  return {};
}

Result<void> infer_flip(InferContext& c) {
  for (std::int64_t item : c.int_list(1)) TRY(CallContext::normalize_dim(item, c.sizes(0).rank()));
  return infer_same(c);
}

// A flipped dimension is read backwards from its last element.
Result<void> lower_flip(LowerContext& c) {
  const Dims& in = c.sizes(0);
  const Dims strides = contiguous_strides(in);
  std::array<bool, kMaxRank> flipped{};
  for (std::int64_t item : c.int_list(1)) {
    TRY_ASSIGN(const std::size_t d, CallContext::normalize_dim(item, in.rank()));
    flipped[d] = true;
  }
  Loops loops = copy_loops(in, {strides.begin(), strides.end()});
  std::int64_t base = 0;
  for (std::size_t d = 0; d < in.rank(); ++d) {
    if (!flipped[d] || in[d] == 0) continue;
    base += (in[d] - 1) * strides[d];
    loops[d].strides[0] = -strides[d];
  }
  emit_copy(c, elements_of(c, c.id(0)), base, loops, output_elements(c));
  return {};
}

// unfold(dim, size, step): windows of `size` along dim become a new last dimension.
Result<void> infer_unfold(InferContext& c) {
  const Dims& in = c.sizes(0);
  CHECK_OR_FAIL(in.rank() > 0 && in.rank() < kMaxRank, ErrorKind::NotSupported, "a tensor of rank ",
                in.rank(), " cannot be unfolded");
  TRY_ASSIGN(const std::size_t d, c.dim(1, in.rank()));
  const std::int64_t size = c.integer(2), step = c.integer(3);
  CHECK_OR_FAIL(step > 0, ErrorKind::InvalidProgram, "step ", step, " must be positive");
  CHECK_OR_FAIL(size >= 0 && size <= in[d], ErrorKind::InvalidArgument, "windows of ", size,
                " do not fit dimension ", d, " of sizes ", to_string(in));
  Dims out = in;
  out[d] = (in[d] - size) / step + 1;
  out.push_back(size);
  return c.set_output(out);
}

Result<void> lower_unfold(LowerContext& c) {
  const Dims& out = c.sizes_of(c.output_id());
  TRY_ASSIGN(const std::size_t d, c.dim(1, c.sizes(0).rank()));
  Dims strides = contiguous_strides(c.sizes(0));
  strides.push_back(strides[d]);
  if (out[d] > 1) strides[d] *= c.bake(c.id(3));
  emit_copy(c, elements_of(c, c.id(0)), 0, copy_loops(out, {strides.begin(), strides.end()}),
            output_elements(c));
  return {};
}

Result<void> infer_pixel_shuffle(InferContext& c) {
  TRY_ASSIGN(const Dims out, shuffled_sizes(c.sizes(0), c.integer(1)));
  return c.set_output(out);
}

Result<void> lower_pixel_shuffle(LowerContext& c) {
  emit_copy(c, elements_of(c, c.id(0)), 0, shuffle_loops(c.sizes(0), c.bake(c.id(1))),
            output_elements(c));
  return {};
}

constexpr Op view(std::string_view name, std::string_view signature,
                  Result<void> (*infer)(InferContext&)) {
  return {.name = name,
          .signature = signature,
          .infer = infer,
          .lower = lower_view,
          .is_view = true,
          .takes = {.i64 = kAllArgs, .bytes = kAllArgs}};
}

// An operator of strided.h: readers follow its strides. Its copy is for when sharing memory would
// be wrong.
constexpr Op strided(Op moves, std::string_view name) {
  moves.name = name;
  moves.is_view = moves.internal = true;
  return moves;
}

struct StridedForm {
  std::string_view of, name;  // in the format, and made by passes
  std::optional<Strided> (*move)(const CallContext&, const Strided&);
};
constexpr StridedForm kStridedForms[] = {
    {"aten.permute.default", "strided.permute", permuted<listed_permutation>},
    {"aten.permute_copy.default", "strided.permute", permuted<listed_permutation>},
    {"aten.select_copy.int", "strided.select", selected},
    {"aten.t_copy.default", "strided.t", permuted<transposed>},
    {"aten.transpose_copy.int", "strided.transpose", permuted<swapped>},
};

// Of a tensor that is viewed with other sizes: runs of elements with one step, cut anew.
std::optional<Dims> strides_of_view(const Strided& in, const Dims& to) {
  const std::int64_t count = to.numel();
  if (count != in.sizes.numel()) return std::nullopt;
  if (count == 0) return contiguous_strides(to);
  Dims out = Dims::filled(to.rank(), 0);
  std::int64_t run = 1, step = 1;
  std::size_t d = in.sizes.rank();
  for (std::size_t v = to.rank(); v-- > 0;) {
    if (to[v] == 1) continue;
    while (run == 1 && d > 0) {  // the next run, with what lies right before it
      run = in.sizes[--d];
      step = in.strides[d];
      while (run > 1 && d > 0 && (in.sizes[d - 1] == 1 || in.strides[d - 1] == run * step))
        run *= in.sizes[--d];
    }
    if (run % to[v] != 0) return std::nullopt;
    out[v] = step;
    step *= to[v];
    run /= to[v];
  }
  return out;
}

// dtype, layout, device, memory format and the like: the recorded output says it all.
constexpr std::string_view kCast = "t [_ _ _ _ _ _] > t";

constexpr Op kOps[] = {
    view("aten._to_copy.default", kCast, infer_same),
    view("aten.alias_copy.default", "t > t", infer_same),
    view("aten.clone.default", kCast, infer_same),
    moving("aten.copy.default", "t t [_] > t", infer_copy, lower_copy),
    moving("aten.expand_copy.default", "t l [_] > t", infer_expand, lower_expand),
    moving("aten.flip.default", "t l > t", infer_flip, lower_flip),
    permuting<listed_permutation>("aten.permute.default", "t l > t"),
    permuting<listed_permutation>("aten.permute_copy.default", "t l > t"),
    moving("aten.pixel_shuffle.default", "t i > t", infer_pixel_shuffle, lower_pixel_shuffle),
    moving("aten.repeat.default", "t l > t", infer_repeat, lower_repeat),
    view("aten.reshape.default", "t l > t", infer_view),
    moving("aten.select_copy.int", "t i i > t", infer_select, lower_select),
    moving("aten.slice_copy.Tensor", "t i i? i? i? > t", infer_slice, lower_slice),
    moving("aten.split_with_sizes_copy.default", "t l i > v", infer_split, lower_split),
    view("aten.squeeze_copy.dims", "t l > t", infer_squeeze),
    permuting<transposed>("aten.t_copy.default", "t > t"),
    permuting<swapped>("aten.transpose_copy.int", "t i i > t"),
    moving("aten.unfold_copy.default", "t i i i > t", infer_unfold, lower_unfold),
    view("aten.unsqueeze_copy.default", "t i > t", infer_unsqueeze),
    view("aten.view_copy.default", "t l > t", infer_view),
    view("dim_order_ops._clone_dim_order.default", kCast, infer_same),
    view("dim_order_ops._to_dim_order_copy.default", kCast, infer_same),
    view("et_vk.prepack.default", "t > t", infer_same),
    strided(permuting<listed_permutation>("", "t l > t"), "strided.permute"),
    strided(moving("", "t i i > t", infer_select, lower_select), "strided.select"),
    strided(permuting<transposed>("", "t > t"), "strided.t"),
    strided(permuting<swapped>("", "t i i > t"), "strided.transpose"),
};

}  // namespace

std::string_view strided_name(const Graph& graph, const Call& call) {
  const auto form = std::ranges::find(kStridedForms, call.name, &StridedForm::of);
  if (form == std::end(kStridedForms)) return {};
  // What is not known before the call is copied.
  const auto is_live = [&](ValueId v) {
    const auto* list = std::get_if<ValueList>(&graph.value(v));
    return graph.is_symint(v) || (list && std::ranges::any_of(list->items, [&](ValueId item) {
                                    return graph.is_symint(item);
                                  }));
  };
  return std::ranges::any_of(call.args, is_live) ? std::string_view() : form->name;
}

std::optional<Strided> restrided(const CallContext& c, const Strided& in) {
  for (const StridedForm& form : kStridedForms)
    if (c.call().name == form.of || c.call().name == form.name) return form.move(c, in);
  const Dims& sizes = c.sizes(c.output_arg());
  const auto strides = strides_of_view(in, sizes);
  if (!strides) return std::nullopt;
  return Strided{sizes, *strides, in.first};
}

StridedBuffer copied(LowerContext& c, const StridedBuffer& source) {
  const StridedBuffer out{c.scratch(source.at.sizes.numel()), contiguous(source.at.sizes)};
  const Dims& strides = source.at.strides;
  emit_copy(c, {source.buffer}, source.at.first,
            copy_loops(source.at.sizes, {strides.begin(), strides.end()}), {out.buffer});
  return out;
}

StridedBuffer strided_argument(LowerContext& c, std::size_t arg) {
  std::vector<const Call*> chain;
  ValueId source = c.id(arg);
  const std::vector<Call>& calls = c.graph().calls;
  auto at = std::ranges::find_if(calls, [&](const Call& call) { return &call == &c.call(); });
  while (at != calls.begin()) {
    const Call& call = *--at;
    const Op* op =
        call.args.size() > 1 && call.args.back() == source ? find_op(call.name) : nullptr;
    if (!op || !op->is_view || !c.shares_memory(source, call.args.front())) continue;
    chain.push_back(&call);
    source = call.args.front();
  }
  StridedBuffer out{c.value_of(source), contiguous(c.sizes_of(source))};
  for (std::size_t i = chain.size(); i-- > 0;) {
    const CallContext step = c.of(*chain[i]);
    std::optional<Strided> next = restrided(step, out.at);
    if (!next) {
      out = copied(c, out);
      next = restrided(step, out.at);
    }
    if (next) out.at = *next;
  }
  return out;
}

Result<Dims> shuffled_sizes(const Dims& in, std::int64_t r) {
  Dims out = in;
  const std::size_t rank = out.rank();
  CHECK_OR_FAIL(rank >= 3 && r > 0 && r < (1 << 15) && out[rank - 3] % (r * r) == 0,
                ErrorKind::InvalidProgram, "sizes ", to_string(out), " do not shuffle by ", r);
  out[rank - 3] /= r * r;
  out[rank - 2] *= r;
  out[rank - 1] *= r;
  return out;
}

Loops shuffle_loops(const Dims& in, std::int64_t r) {
  const std::size_t rank = in.rank();
  const std::int64_t h = in[rank - 2], w = in[rank - 1];
  const std::int64_t channels = in.product(0, rank - 2) / (r * r);
  return {{channels, {r * r * h * w, 0, 0}},
          {h, {w, 0, 0}},
          {r, {r * h * w, 0, 0}},
          {w, {1, 0, 0}},
          {r, {h * w, 0, 0}}};
}

std::span<const Op> shape_ops() { return kOps; }

}  // namespace etwebgpu
