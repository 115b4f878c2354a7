#include "ops/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace etwebgpu {
namespace {

constexpr std::uint32_t kWorkgroup = 64;
constexpr std::string_view kNames[3] = {"A", "B", "C"};

std::string_view wgsl(Element element) {
  constexpr std::string_view names[] = {"f32", "i32", "u32"};
  return names[static_cast<std::size_t>(element)];
}

bool multiple_of_4(std::int64_t n) { return n % 4 == 0; }

// True if operand k can be read four elements at a time along the innermost loop, or is constant
// along it.
bool allows_vectors(const Operand& operand, const Loops& loops, std::size_t k,
                    const LiveBase& live_base) {
  if (operand.kind != Operand::Kind::Tensor) return true;
  const std::int64_t inner = loops.back().strides[k];
  if (inner == 0) return true;
  if (inner != 1 || !multiple_of_4(operand.base)) return false;
  if (k == 0 && live_base.start != kNoValue && !multiple_of_4(live_base.stride)) return false;
  return std::ranges::all_of(loops.begin(), loops.end() - 1,
                             [k](const Loop& loop) { return multiple_of_4(loop.strides[k]); });
}

// A single loop may run past the end by up to three elements: buffers are padded to 16 bytes.
bool use_vectors(std::span<const Operand> operands, const Loops& loops, const LiveBase& live_base) {
  if (loops.size() > 1 && !multiple_of_4(loops.back().size)) return false;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    if (!allows_vectors(operands[k], loops, k, live_base)) return false;
  }
  return true;
}

// Everything the kernel call needs, in units of what each binding's array holds.
struct Layout {
  bool vectors = false;
  std::array<bool, 3> wide{};  // operand k is an array of vec4
  Loops loops;
  std::array<std::int64_t, 3> bases{};
  std::int64_t live_stride = 0;
  std::int64_t count = 0;
};

Layout lay_out(std::span<const Operand> operands, Loops loops, const LiveBase& live_base) {
  Layout out;
  out.vectors = use_vectors(operands, loops, live_base);
  for (std::size_t k = 0; k < operands.size(); ++k) {
    const bool is_tensor = operands[k].kind == Operand::Kind::Tensor;
    out.wide[k] = out.vectors && is_tensor && loops.back().strides[k] == 1;
    out.bases[k] = operands[k].base / (out.wide[k] ? 4 : 1);
    for (std::size_t l = 0; out.wide[k] && l + 1 < loops.size(); ++l) loops[l].strides[k] /= 4;
  }
  if (out.vectors) loops.back().size = div_up<std::int64_t>(loops.back().size, 4);
  out.live_stride = live_base.stride / (out.wide[0] ? 4 : 1);
  out.count = 1;
  for (const Loop& loop : loops) out.count *= loop.size;
  out.loops = std::move(loops);
  return out;
}

void define_operand(KernelCall& call, const Operand& operand, std::string_view name, bool vectors,
                    bool wide, int& binding) {
  const std::string_view as = wgsl(operand.as);
  call.define(cat(name, "_AS"), as);
  call.define(cat(name, "_VALUE"), vectors ? cat("vec4<", as, ">") : std::string(as));
  if (operand.kind == Operand::Kind::Tensor) {
    const std::string_view stored = wgsl(operand.element);
    call.define(name, wide ? "vector" : "word");
    call.define(cat(name, "_STORED"), wide ? cat("vec4<", stored, ">") : std::string(stored));
    call.define(cat(name, "_AT"), binding++);
    call.read(operand.buffer);
  } else if (operand.kind == Operand::Kind::Literal) {
    call.define(name, "literal");
  } else {
    call.define(name, "live");
  }
}

void define_uniforms(KernelCall& call, const Elementwise& what, std::span<const Operand> operands,
                     int binding) {
  call.define("PARAMS_AT", binding++);
  for (std::size_t k = 0; k < operands.size(); ++k) {
    if (operands[k].kind != Operand::Kind::Live) continue;
    call.define(cat(kNames[k], "_AT"), binding++).scalar(operands[k].live);
  }
  if (what.live_base.start != kNoValue) {
    call.define("LIVE_AT", binding++).scalar(what.live_base.start);
  }
}

void fill_params(KernelCall& call, const Elementwise& what, std::span<const Operand> operands,
                 const Layout& layout) {
  std::array<std::uint32_t, 3> literals{};
  for (std::size_t k = 0; k < operands.size(); ++k) {
    literals[k] = word_of(operands[k].literal, operands[k].as);
  }
  call.params(layout.count, word_of(what.x, what.x_type), word_of(what.y, what.x_type),
              what.live_base.extent);
  call.params(layout.bases[0], layout.bases[1], layout.bases[2], layout.live_stride);
  call.params(literals[0], literals[1], literals[2], 0);
  for (auto loop = layout.loops.rbegin(); loop != layout.loops.rend(); ++loop) {
    call.params(loop->size, loop->strides[0], loop->strides[1], loop->strides[2]);
  }
}

}  // namespace

Loops coalesced(const Loops& loops) {
  Loops out;
  for (const Loop& loop : loops) {
    if (loop.size == 1) continue;
    bool joins = !out.empty();
    for (std::size_t k = 0; joins && k < 3; ++k) {
      joins = out.back().strides[k] == loop.size * loop.strides[k];
    }
    if (joins) {
      out.back().size *= loop.size;
      out.back().strides = loop.strides;
    } else {
      out.push_back(loop);
    }
  }
  if (out.empty()) out.push_back({});
  return out;
}

Operand literal_operand(double value, Element as) {
  return {.kind = Operand::Kind::Literal, .element = as, .as = as, .literal = value};
}

Operand operand(const LowerContext& c, std::size_t arg, Element as) {
  if (c.is_tensor(arg)) {
    return {.kind = Operand::Kind::Tensor,
            .element = element_of(c.dtype(arg)),
            .as = as,
            .buffer = c.value(arg)};
  }
  if (c.is_symint(arg)) {
    return {.kind = Operand::Kind::Live, .element = Element::I32, .as = as, .live = c.id(arg)};
  }
  return literal_operand(c.number(arg), as);
}

void emit_elementwise(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                      const Loops& loops, BufferRef out) {
  const Layout layout = lay_out(operands, coalesced(loops), what.live_base);
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& call = c.emit("elementwise");
  call.define("WG", wg).define("EXPR", what.expression);
  if (!what.library.empty()) call.define("LIB", what.library);
  call.define("LANES", layout.vectors ? 4 : 1);
  call.define("LOOPS", layout.loops.size()).define("SPLITS", layout.loops.size() - 1);
  call.define("X", wgsl(what.x_type)).define("OUT", wgsl(what.out));
  int binding = 0;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    define_operand(call, operands[k], kNames[k], layout.vectors, layout.wide[k], binding);
  }
  call.define("OUT_AT", binding++).write(out);
  define_uniforms(call, what, operands, binding);
  fill_params(call, what, operands, layout);
  call.groups(div_up<std::int64_t>(layout.count, wg));
}

void emit_broadcast(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                    std::span<const Dims> sizes) {
  const Dims& out = c.sizes_of(c.output_id());
  Loops loops(out.rank());
  for (std::size_t d = 0; d < out.rank(); ++d) loops[d].size = out[d];
  for (std::size_t k = 0; k < operands.size(); ++k) {
    const Dims strides = contiguous_strides(sizes[k]);
    const std::size_t lead = out.rank() - std::min(out.rank(), sizes[k].rank());
    for (std::size_t d = 0; d < sizes[k].rank() && lead + d < out.rank(); ++d) {
      loops[lead + d].strides[k] = sizes[k][d] == 1 ? 0 : strides[d];
    }
  }
  emit_elementwise(c, what, operands, loops, c.output());
}

void emit_fill(LowerContext& c, const Operand& number) {
  const Element out = element_of(c.graph().tensor(c.output_id())->dtype);
  const Loops loops{{c.sizes_of(c.output_id()).numel()}};
  emit_elementwise(c, {.expression = "a", .out = out, .x_type = out}, {&number, 1}, loops,
                   c.output());
}

void emit_fill(LowerContext& c, double number) {
  emit_fill(c, literal_operand(number, element_of(c.graph().tensor(c.output_id())->dtype)));
}

Loops copy_loops(const Dims& sizes, std::span<const std::int64_t> strides) {
  Loops loops(sizes.rank());
  for (std::size_t d = 0; d < sizes.rank(); ++d) loops[d] = {sizes[d], {strides[d], 0, 0}};
  return loops;
}

void emit_copy(LowerContext& c, BufferRef source, std::int64_t base, const Loops& loops,
               BufferRef out, const LiveBase& live_base) {
  const Operand from{.kind = Operand::Kind::Tensor,
                     .element = Element::U32,
                     .as = Element::U32,
                     .buffer = source,
                     .base = base};
  const Elementwise copy{
      .expression = "a", .out = Element::U32, .x_type = Element::U32, .live_base = live_base};
  emit_elementwise(c, copy, {&from, 1}, loops, out);
}

Result<void> lower_convert(LowerContext& c, std::size_t source_arg) {
  const DType from = c.dtype(source_arg), to = c.graph().tensor(c.output_id())->dtype;
  const Element in = element_of(from), out = element_of(to);
  std::string_view expression = "a";
  if (to == DType::Bool && from != DType::Bool) {
    expression = "i32(bool(a))";
  } else if (in == Element::F32 && out == Element::I32) {
    expression = "i32(a)";
  } else if (in == Element::I32 && out == Element::F32) {
    expression = "f32(a)";
  }
  // Integers wrap where they are narrowed, as in PyTorch.
  const bool narrows = from != to && from != DType::Bool;
  if (to == DType::UInt8 && narrows) expression = "i32(a) & 0xff";
  if (to == DType::Int8 && narrows) expression = "(i32(a) << 24u) >> 24u";
  const Operand source = operand(c, source_arg, in);
  const Loops loops{{c.sizes(source_arg).numel(), {1, 0, 0}}};
  emit_elementwise(c, {.expression = expression, .out = out, .x_type = in}, {&source, 1}, loops,
                   c.output());
  return {};
}

Result<Dims> broadcast(const Dims& a, const Dims& b) {
  Dims out = Dims::filled(std::max(a.rank(), b.rank()), 1);
  for (std::size_t d = 1; d <= out.rank(); ++d) {
    const std::int64_t left = d <= a.rank() ? a[a.rank() - d] : 1;
    const std::int64_t right = d <= b.rank() ? b[b.rank() - d] : 1;
    CHECK_OR_FAIL(left == right || left == 1 || right == 1, ErrorKind::InvalidArgument, "sizes ",
                  to_string(a), " and ", to_string(b), " do not broadcast");
    out[out.rank() - d] = left == 1 ? right : left;
  }
  return out;
}

double baked_number(LowerContext& c, std::size_t arg) {
  return c.is_symint(arg) ? static_cast<double>(c.bake(c.id(arg))) : c.number(arg);
}

std::uint32_t word_of(double value, Element element) {
  if (element == Element::F32) return std::bit_cast<std::uint32_t>(static_cast<float>(value));
  if (std::isnan(value)) return 0;
  constexpr double kLeast = std::numeric_limits<std::int32_t>::min();
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(std::clamp(value, kLeast, kMost)));
}

double stored_number(double value, DType dtype) {
  if (is_floating(dtype)) return value;
  return dtype == DType::Bool ? static_cast<double>(value != 0) : std::trunc(value);
}

}  // namespace etwebgpu
