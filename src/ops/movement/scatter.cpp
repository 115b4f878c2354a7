// Operators that write elements where an index tensor says:
//
//   aten.scatter.src(x, dim, index, source), et_vk.scatter_src_unique(the same)
//   aten.scatter.value(x, dim, index, number)
//
// Of several for one place the last stays, as in eager on a CPU. It is found first, so that every
// element of the output is written once.
#include <algorithm>

#include "ops/elementwise/elementwise.h"
#include "ops/families.h"

namespace etwebgpu {
namespace {

constexpr std::uint32_t kWorkgroup = 64;

enum { kX, kDim, kIndex, kSource };

DType output_dtype(const CallContext& c) { return c.graph().tensor(c.output_id())->dtype; }

bool lies_within(const Dims& index, const Dims& sizes, std::size_t but) {
  bool fits = index.rank() == sizes.rank();
  for (std::size_t d = 0; fits && d < index.rank(); ++d) fits = d == but || index[d] <= sizes[d];
  return fits;
}

Result<void> check_source(const CallContext& c) {
  if (!c.is_tensor(kSource)) return {};
  constexpr std::size_t kNone = kMaxRank;
  CHECK_OR_FAIL(c.dtype(kSource) == c.dtype(kX), ErrorKind::InvalidProgram, "a source of type ",
                name(c.dtype(kSource)), " into ", name(c.dtype(kX)));
  CHECK_OR_FAIL(lies_within(c.sizes(kIndex), c.sizes(kSource), kNone), ErrorKind::InvalidArgument,
                "an index of sizes ", to_string(c.sizes(kIndex)),
                " does not fit a source of sizes ", to_string(c.sizes(kSource)));
  return {};
}

Result<void> infer_scatter(InferContext& c) {
  const Dims &x = c.sizes(kX), &index = c.sizes(kIndex);
  TRY_ASSIGN(const std::size_t dim, c.dim(kDim, x.rank()));
  CHECK_OR_FAIL(output_dtype(c) == c.dtype(kX), ErrorKind::InvalidProgram, "there is no form from ",
                name(c.dtype(kX)), " to ", name(output_dtype(c)));
  CHECK_OR_FAIL(c.dtype(kIndex) == DType::Int32 || c.dtype(kIndex) == DType::Int64,
                ErrorKind::NotSupported, "an index tensor of ", name(c.dtype(kIndex)),
                " is not supported");
  CHECK_OR_FAIL(index.numel() == 0 || lies_within(index, x, dim), ErrorKind::InvalidArgument,
                "an index of sizes ", to_string(index), " does not fit sizes ", to_string(x));
  if (index.numel() > 0) TRY(check_source(c));
  return c.set_output(x);
}

// A tensor as the output stores its elements.
BufferRef as_output(LowerContext& c, std::size_t arg) {
  const Elements from = elements_of(c, c.id(arg));
  const Element to = output_element(c);
  if (from.element == to) return from.buffer;
  const std::int64_t count = c.sizes(arg).numel();
  const BufferRef out = c.scratch(count, storage_of(to));
  emit_copy(c, from, 0, {{count, {1, 0, 0}}}, {out, to});
  return out;
}

// Over the index; steps in it, in the source and, but in the indexed dimension, in the output.
Loops index_loops(const CallContext& c, std::size_t dim) {
  const Dims& index = c.sizes(kIndex);
  const Dims steps = contiguous_strides(index), out = contiguous_strides(c.sizes(kX));
  const Dims source = c.is_tensor(kSource) ? contiguous_strides(c.sizes(kSource)) : steps;
  Loops loops;
  for (std::size_t d = 0; d < index.rank(); ++d)
    loops.push_back({index[d], {steps[d], source[d], d == dim ? 0 : out[d]}});
  return coalesced(loops);
}

BufferRef emit_marks(LowerContext& c, std::size_t dim) {
  const Dims& x = c.sizes(kX);
  const std::int64_t count = c.sizes(kIndex).numel();
  const BufferRef marks = c.scratch(x.numel(), Storage::I32);
  const Operand zero = literal_operand(Number(std::int64_t{0}), Element::I32);
  emit_elementwise(c, {.expression = "a", .out = Element::I32}, {&zero, 1}, {{x.numel()}},
                   {marks, Element::I32});
  const Loops loops = index_loops(c, dim);
  const BufferRef indices = c.narrowed(c.id(kIndex));
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& k = c.emit("scatter_mark");
  k.define("WG", wg).define("SPLITS", loops.size() - 1);
  k.read("index", indices).write("marks", marks);
  k.params({{"count", count},
            {"extent", x.empty() ? 1 : x[dim]},
            {"stride", x.empty() ? 1 : contiguous_strides(x)[dim]}});
  std::vector<Extents> extents;
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop)
    extents.push_back({loop->size, loop->strides[0], loop->strides[1], loop->strides[2]});
  k.param_array("loops", extents);
  k.groups(div_up<std::int64_t>(count, wg));
  return marks;
}

Result<void> lower_scatter(LowerContext& c) {
  const Dims& x = c.sizes(kX);
  TRY_ASSIGN(const std::size_t dim, c.dim(kDim, x.rank()));
  if (x.numel() == 0) return {};
  if (c.sizes(kIndex).numel() == 0) return lower_convert(c, kX);
  const bool has_source = c.is_tensor(kSource);
  const BufferRef marks = emit_marks(c, dim), from = as_output(c, kX);
  const BufferRef source = has_source ? as_output(c, kSource) : BufferRef();
  const Element element = output_element(c);
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& k = c.emit("scatter_take");
  k.define("WG", wg).define("T", element == Element::I64 ? "vec2<u32>" : "u32");
  k.define("SOURCE", has_source ? 1 : 0).read("x", from).read("marks", marks);
  if (has_source) {
    k.read("source", source);
  } else {
    k.param("value", words_of(stored_number(baked_number(c, kSource), output_dtype(c)), element));
  }
  k.write("out", c.output()).param("count", x.numel());
  k.groups(div_up<std::int64_t>(x.numel(), wg));
  return {};
}

constexpr Op kOps[] = {
    wide_op("aten.scatter.src", "t i t t > t", infer_scatter, lower_scatter),
    wide_op("aten.scatter.value", "t i t f > t", infer_scatter, lower_scatter),
    wide_op("et_vk.scatter_src_unique.default", "t i t t > t", infer_scatter, lower_scatter),
};

}  // namespace

std::span<const Op> scatter_ops() { return kOps; }

}  // namespace etwebgpu
