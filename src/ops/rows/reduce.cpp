// Reductions over sets of dimensions, and the positions of extremes.
//
//   aten.mean.dim, aten.sum.dim_IntList(x, dims?, keepdim, dtype) -> out
//   aten.amax.default, aten.amin.default(x, dims, keepdim) -> out
//   aten.argmax.default, aten.argmin.default(x, dim?, keepdim) -> indices
//
// No dims, or an empty list, mean all of them. The index of an extreme counts in row-major order;
// the first one wins. Of no elements the sum is 0 and the mean NaN; an extreme of none is an error.
#include <limits>

#include "ops/elementwise/elementwise.h"
#include "ops/families.h"
#include "ops/rows/rows.h"

namespace etwebgpu {
namespace {

enum class Reduction { Sum, Mean, Max, Min, ArgMax, ArgMin };

constexpr bool is_arg(Reduction r) { return r == Reduction::ArgMax || r == Reduction::ArgMin; }
constexpr bool has_identity(Reduction r) { return r == Reduction::Sum || r == Reduction::Mean; }

constexpr std::string_view kernel_op(Reduction r) {
  switch (r) {
    case Reduction::Sum:
    case Reduction::Mean:
      return "sum";
    case Reduction::Max:
    case Reduction::ArgMax:
      return "max";
    case Reduction::Min:
    case Reduction::ArgMin:
      return "min";
  }
  return "";
}

// Bit d is set if dimension d of x is reduced.
Result<std::uint32_t> reduced_dims(const CallContext& c, Reduction r) {
  const std::size_t rank = c.sizes(0).rank();
  std::vector<std::int64_t> dims;
  if (is_arg(r)) {
    if (!c.is_none(1)) dims.push_back(c.integer(1));
  } else {
    dims = c.int_list(1);
  }
  if (dims.empty()) return (1u << rank) - 1;
  std::uint32_t mask = 0;
  for (std::int64_t d : dims) {
    TRY_ASSIGN(const std::size_t dim, CallContext::normalize_dim(d, rank));
    mask |= 1u << dim;
  }
  return mask & ((1u << rank) - 1);
}

// What the reduction is computed in.
Element computed_in(const LowerContext& c, Reduction r) {
  if (is_arg(r)) return stored_element(c, 0);
  const Element out = output_element(c);
  return out == Element::I32 ? stored_element(c, 0) : out;
}

template <Reduction kOp>
Result<void> infer_reduce(InferContext& c) {
  const Dims& x = c.sizes(0);
  TRY_ASSIGN(const std::uint32_t mask, reduced_dims(c, kOp));
  const DType in = c.dtype(0), out_type = c.graph().tensor(c.output_id())->dtype;
  const bool fits = has_identity(kOp)
                        ? is_floating(out_type) || (kOp == Reduction::Sum && !is_floating(in))
                    : is_arg(kOp) ? !is_floating(out_type)
                                  : out_type == in;
  CHECK_OR_FAIL(fits, ErrorKind::NotSupported, "there is no form from ", name(in), " to ",
                name(out_type));
  const bool keep = c.boolean(2);
  Dims out;
  for (std::size_t d = 0; d < x.rank(); ++d) {
    const bool reduced = mask >> d & 1;
    CHECK_OR_FAIL(!reduced || x[d] > 0 || has_identity(kOp), ErrorKind::InvalidArgument,
                  "there is no extreme over dimension ", d, " of sizes ", to_string(x));
    if (!reduced) {
      out.push_back(x[d]);
    } else if (keep) {
      out.push_back(1);
    }
  }
  return c.set_output(out);
}

// Up to 4 dimensions in row-major order, in the last places.
struct Axes {
  Extents sizes = {1, 1, 1, 1};
  Extents strides = {};
  int count = 0;
};

// Splits x into kept and reduced axes; neighbouring dimensions of a kind are one axis, so that 8
// dimensions give at most 4 of each.
void split_axes(const Dims& x, std::uint32_t mask, Axes& kept, Axes& reduced) {
  int last_kind = -1;
  std::int64_t stride = 1;
  for (std::size_t d = x.rank(); d-- > 0;) {
    const int kind = static_cast<int>(mask >> d & 1);
    Axes& axes = kind ? reduced : kept;
    if (x[d] != 1) {
      if (kind != last_kind) axes.strides[3 - axes.count++] = stride;
      axes.sizes[4 - axes.count] *= x[d];
      last_kind = kind;
    }
    stride *= x[d];
  }
}

// A workgroup for each output where those are few and long; lanes never outnumber elements.
Route reduce_route(const LowerContext& c, std::int64_t outputs, std::int64_t n) {
  const bool cooperate = c.is_software() ? n >= 64 && outputs < 16 : n >= 32 && outputs < 4096;
  const std::int64_t most = c.is_software() ? 8 : cooperate ? std::min<std::int64_t>(n, 256) : 64;
  const std::int64_t wg = c.workgroup_size(static_cast<std::uint32_t>(most));
  return {.kernel = "reduce",
          .defines = {{"WG", wg}, {"COOPERATE", cooperate ? 1 : 0}},
          .groups = cooperate ? outputs : div_up(outputs, wg)};
}

// One reduction of `n` elements for each of `outputs`.
struct Reduce {
  Elements x, out;
  Element type = Element::F32;  // it is computed in
  std::string_view op = "sum";
  bool arg = false, scaled = false;
  Axes kept = {}, reduced = {};
  std::int64_t outputs = 1, n = 1;
  double scale = 1.0;
};

void emit_reduce(LowerContext& c, const Reduce& r) {
  KernelCall& k = c.emit(reduce_route(c, r.outputs, r.n));
  const Element x = r.x.element, out = r.out.element;
  const bool wide = x == Element::I64 || r.type == Element::I64 || out == Element::I64;
  k.define("X", wgsl_type(x)).define("T", wgsl_type(r.type)).define("OUT", wgsl_type(out));
  k.define("LOAD", conversion(x, r.type));
  k.define("STORE", storing(r.arg ? Element::I32 : r.type, out));
  k.define("WIDE", wide ? 1 : 0).define("OP", r.op).define("ARG", r.arg ? 1 : 0);
  k.define("SCALED", r.scaled ? 1 : 0).define("FLAT", r.reduced.count <= 1 ? 1 : 0);
  k.read("x", r.x.buffer).write("out", r.out.buffer);
  k.params({{"kept_sizes", r.kept.sizes},
            {"kept_strides", r.kept.strides},
            {"reduced_sizes", r.reduced.sizes},
            {"reduced_strides", r.reduced.strides},
            {"outputs", r.outputs},
            {"n", r.n},
            {"scale", r.scale}});
}

template <Reduction kOp>
Result<void> lower_reduce(LowerContext& c) {
  const Dims& x = c.sizes(0);
  TRY_ASSIGN(const std::uint32_t mask, reduced_dims(c, kOp));
  Reduce r{.x = elements_of(c, c.id(0)), .out = output_elements(c)};
  r.outputs = c.sizes(c.output_arg()).numel();
  for (std::size_t d = 0; d < x.rank(); ++d) r.n *= (mask >> d & 1) ? x[d] : 1;
  if (r.outputs == 0) return {};
  if (r.n == 0) {  // infer has let only sums and means through
    emit_fill(c, kOp == Reduction::Mean ? std::numeric_limits<double>::quiet_NaN() : 0.0);
    return {};
  }
  split_axes(x, mask, r.kept, r.reduced);
  r.type = computed_in(c, kOp);
  r.op = kernel_op(kOp);
  r.arg = is_arg(kOp);
  r.scaled = has_identity(kOp) && r.type == Element::F32;
  if (kOp == Reduction::Mean) r.scale = 1.0 / static_cast<double>(r.n);
  emit_reduce(c, r);
  return {};
}

template <Reduction kOp>
constexpr Op entry(std::string_view name, std::string_view signature) {
  return {.name = name,
          .signature = signature,
          .infer = infer_reduce<kOp>,
          .lower = lower_reduce<kOp>,
          .takes = {.i64 = kAllArgs}};
}

constexpr Op kOps[] = {
    entry<Reduction::Mean>("aten.mean.dim", "tl?i_>t"),
    entry<Reduction::Sum>("aten.sum.dim_IntList", "tl?i_>t"),
    entry<Reduction::Max>("aten.amax.default", "tl?i>t"),
    entry<Reduction::Min>("aten.amin.default", "tl?i>t"),
    entry<Reduction::ArgMax>("aten.argmax.default", "ti?i>t"),
    entry<Reduction::ArgMin>("aten.argmin.default", "ti?i>t"),
};

}  // namespace

void emit_sum(LowerContext& c, BufferRef x, std::int64_t n, BufferRef out) {
  Reduce r{.x = {x}, .out = {out}, .n = n};
  r.reduced = {.sizes = {1, 1, 1, n}, .strides = {0, 0, 0, 1}, .count = 1};
  emit_reduce(c, r);
}

std::span<const Op> reduce_ops() { return kOps; }

}  // namespace etwebgpu
