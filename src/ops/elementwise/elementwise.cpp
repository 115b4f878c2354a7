#include "ops/elementwise/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <optional>

namespace etwebgpu {
namespace {

constexpr std::uint32_t kWorkgroup = 64;
constexpr std::string_view kNames[3] = {"A", "B", "C"};
constexpr Literal kBindings[3] = {"a", "b", "c"};

// What makes a stored element one that the expression sees: by stored, then by seen type.
constexpr std::string_view kConversions[4][4] = {
    {"f32", "to_i32", "u32", "to_wide"},
    {"f32", "i32", "u32", "widen"},
    {"f32", "i32", "u32", "wide_of_u32"},
    {"wide_to_f32", "low_i32", "low_u32", "vec2<u32>"},
};

// Integer expressions and the same in 64 bits (kernels/wide_integers.wgsl).
struct WideForm {
  std::string_view expression, wide;
};
constexpr WideForm kWideForms[] = {
    {"a", "a"},
    {"a + b", "wide_add(a, b)"},
    {"a - b", "wide_sub(a, b)"},
    {"a + x * b", "wide_add(a, wide_mul(x, b))"},
    {"a - x * b", "wide_sub(a, wide_mul(x, b))"},
    {"a + i32(i) * b", "wide_add(a, wide_mul(wide_of_u32(i), b))"},
    {"a * b", "wide_mul(a, b)"},
    {"a / b", "wide_divide(a, b)"},
    {"floor_divide_int(a, b)", "wide_floor_divide(a, b)"},
    {"integer_power(a, b)", "wide_power(a, b)"},
    {"-a", "wide_neg(a)"},
    {"abs(a)", "wide_abs(a)"},
    {"max(a, 0)", "wide_max(a, vec2<u32>())"},
    {"max(a, b)", "wide_max(a, b)"},
    {"min(a, b)", "wide_min(a, b)"},
    {"min(max(a, x), y)", "wide_min(wide_max(a, x), y)"},
    {"~a", "~a"},
    {"a & b", "a & b"},
    {"a | b", "a | b"},
    {"i32(a == b)", "i32(all(a == b))"},
    {"i32(a != b)", "i32(any(a != b))"},
    {"i32(a < b)", "i32(wide_less(a, b))"},
    {"i32(a > b)", "i32(wide_less(b, a))"},
    {"i32(a <= b)", "i32(!wide_less(b, a))"},
    {"i32(a >= b)", "i32(!wide_less(a, b))"},
    {"i32(!bool(a))", "i32(!any(a != vec2<u32>()))"},
    {"i32(bool(a) && bool(b))", "i32(any(a != vec2<u32>()) && any(b != vec2<u32>()))"},
    {"i32(bool(a) || bool(b))", "i32(any(a != vec2<u32>()) || any(b != vec2<u32>()))"},
};

// The expression for these operands. An integer one without a wide form takes them as they are.
std::string_view wide_form(const Elementwise& what, std::span<const Operand> operands) {
  const bool is_wide = what.out == Element::I64 ||
                       std::ranges::find(operands, Element::I64, &Operand::as) != operands.end();
  if (!is_wide) return what.expression;
  for (const WideForm& form : kWideForms)
    if (form.expression == what.expression) return form.wide;
  return what.expression;
}

bool uses_wide(const Elementwise& what, std::span<const Operand> operands, Element out) {
  return what.out == Element::I64 || out == Element::I64 ||
         std::ranges::any_of(operands, [](const Operand& operand) {
           return operand.as == Element::I64 || operand.element == Element::I64;
         });
}

bool uses_bytes(std::span<const Operand> operands, Element out) {
  return is_byte(out) || std::ranges::any_of(operands, [](const Operand& operand) {
           return is_byte(operand.element);
         });
}

bool multiple_of_4(std::int64_t n) { return n % 4 == 0; }

// True if operand k can be read four elements at a time along the innermost loop, or is constant
// along it.
bool allows_vectors(const Operand& operand, const Loops& loops, std::size_t k,
                    const LiveBase& live_base) {
  if (operand.kind != Operand::Kind::Tensor) return true;
  if (operand.element == Element::I64) return false;
  const std::int64_t inner = loops.back().strides[k];
  if (inner == 0) return true;
  if (inner != 1 || !multiple_of_4(operand.base)) return false;
  if (k == 0 && live_base.start != kNoValue && !multiple_of_4(live_base.stride)) return false;
  return std::ranges::all_of(loops.begin(), loops.end() - 1,
                             [k](const Loop& loop) { return multiple_of_4(loop.strides[k]); });
}

// A single loop may run past the end by up to three elements: buffers are padded to 16 bytes.
bool use_vectors(std::span<const Operand> operands, const Loops& loops, const LiveBase& live_base,
                 Element out) {
  if (out == Element::I64) return false;
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
  std::int64_t count = 0;                // of invocations
  std::optional<std::int64_t> elements;  // where each invocation looks for four by themselves
};

Layout lay_out(std::span<const Operand> operands, Loops loops, const LiveBase& live_base,
               Element element) {
  Layout out;
  out.vectors = use_vectors(operands, loops, live_base, element);
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
  if (is_byte(element) && !out.vectors) {
    out.elements = out.count;
    out.count = div_up<std::int64_t>(out.count, 4);
  }
  return out;
}

void define_operand(KernelCall& call, const Operand& operand, std::size_t k, bool wide,
                    ByteRange at) {
  const std::string_view name = kNames[k];
  const std::string_view as = wgsl_type(operand.as);
  call.define(cat(name, "_AS"), as);
  if (operand.kind == Operand::Kind::Tensor) {
    const bool is_word = !wide || is_byte(operand.element);
    const std::string_view stored = is_byte(operand.element) ? "u32" : wgsl_type(operand.element);
    call.define(name, wide ? "vector" : "element");
    call.define(cat(name, "_STORED"), is_word ? std::string(stored) : cat("vec4<", stored, ">"));
    if (is_byte(operand.element))
      call.define(cat(name, "_BYTES"), operand.element == Element::I8 ? "signed" : "unsigned");
    call.define(cat(name, "_FROM"), conversion(operand.element, operand.as));
    call.read(kBindings[k], operand.buffer, at);
  } else if (operand.kind == Operand::Kind::Literal) {
    call.define(name, "literal");
  } else {
    call.define(name, "live").define(cat(name, "_FROM"), conversion(Element::I32, operand.as));
    call.scalar(kBindings[k], operand.live);
  }
}

void fill_params(KernelCall& call, const Elementwise& what, std::span<const Operand> operands,
                 const Layout& layout, std::int64_t first) {
  const auto& [a, b, c] = layout.bases;
  call.params({{"count", layout.count},
               {"live_extent", what.live_base.extent},
               {"live_stride", layout.live_stride},
               {"first", first},
               {"base", {a, b, c, 0}},
               {"x", words_of(what.x, what.x_type)},
               {"y", words_of(what.y, what.x_type)}});
  for (std::size_t k = 0; k < 3; ++k) {
    const bool given = k < operands.size();
    call.param(kBindings[k],
               given ? words_of(operands[k].literal, operands[k].as) : std::array{0u, 0u});
  }
  std::vector<Extents> loops;
  for (auto loop = layout.loops.rbegin(); loop != layout.loops.rend(); ++loop)
    loops.push_back({loop->size, loop->strides[0], loop->strides[1], loop->strides[2]});
  call.param_array("loops", loops);
}

// --- Pieces: parts of the outermost loop whose memory fits bindings ---

struct Piece {
  Loops loops;
  std::vector<Operand> operands;
  std::array<ByteRange, 3> at{};  // of each operand
  ByteRange out = {};
  std::int64_t first = 0;  // element of the output
};

// Elements that an operand reads: from the lowest to behind the highest.
struct Reach {
  std::int64_t first = 0, end = 0;
};

Reach reach_of(const Operand& operand, const Loops& loops, std::size_t k, const LiveBase& live) {
  Reach out{operand.base, operand.base + 1};
  for (const Loop& loop : loops) {
    const std::int64_t distance = (loop.size - 1) * loop.strides[k];
    (distance < 0 ? out.first : out.end) += distance;
  }
  if (k == 0 && live.start != kNoValue) out.end += live.extent * live.stride;
  return out;
}

std::int64_t count_of(const Loops& loops) {
  std::int64_t count = 1;
  for (const Loop& loop : loops) count *= loop.size;
  return count;
}

// Elements of the buffer, where a tensor of the call has it.
std::int64_t buffer_elements(const LowerContext& c, BufferRef buffer) {
  return buffer.kind == BufferRef::Kind::Value ? c.sizes_of(buffer.index).numel() : 0;
}

// The most elements of a type that a binding takes.
std::int64_t binding_elements(const LowerContext& c, Element element) {
  return storage_elements(storage_of(element), c.capabilities().max_storage_binding);
}

bool fits_bindings(const LowerContext& c, std::span<const Operand> operands, const Loops& loops,
                   const Elements& out) {
  if (count_of(loops) > binding_elements(c, out.element)) return false;
  return std::ranges::none_of(operands, [&](const Operand& operand) {
    return operand.kind == Operand::Kind::Tensor &&
           buffer_elements(c, operand.buffer) > binding_elements(c, operand.element);
  });
}

// Memory of so many elements, up to whole vectors.
ByteRange vectors_range(std::int64_t first, std::int64_t count, Element element) {
  ByteRange out = elements_range(first, count, storage_of(element));
  out.size = round_up<std::uint64_t>(out.size, 16);
  return out;
}

// Elements whose bytes suit every alignment.
std::int64_t aligned_elements(Element element) {
  return 256 / static_cast<std::int64_t>(element_bytes(storage_of(element)));
}

// Binds only what operand k reads, from the alignment below on.
void narrow_binding(Operand& operand, const Reach& reach, ByteRange& at) {
  const std::int64_t unit = aligned_elements(operand.element);
  const std::int64_t from = reach.first / unit * unit;
  at = vectors_range(from, reach.end - from, operand.element);
  operand.base -= from;
}

Piece piece_of(std::span<const Operand> operands, const Loops& loops, const LiveBase& live,
               std::int64_t first, std::int64_t step, Element out) {
  Piece piece{.loops = loops, .operands = {operands.begin(), operands.end()}};
  const std::int64_t inner = count_of(loops) / std::max<std::int64_t>(loops[0].size, 1);
  piece.loops[0].size = std::min(step, loops[0].size - first);
  piece.first = first * inner;
  piece.out = vectors_range(piece.first, piece.loops[0].size * inner, out);
  for (std::size_t k = 0; k < operands.size(); ++k) {
    Operand& operand = piece.operands[k];
    if (operand.kind != Operand::Kind::Tensor) continue;
    operand.base += first * loops[0].strides[k];
    narrow_binding(operand, reach_of(operand, piece.loops, k, live), piece.at[k]);
  }
  return piece;
}

// Steps of the outermost loop in a piece: as many as fit, in units that suit every alignment of the
// output. Where not even one fits, the planner says so of the binding.
std::int64_t steps_of(const LowerContext& c, std::span<const Operand> operands, const Loops& loops,
                      const LiveBase& live, const Elements& out) {
  const std::int64_t inner = count_of(loops) / std::max<std::int64_t>(loops[0].size, 1);
  const std::int64_t aligned = aligned_elements(out.element);
  const std::int64_t unit = aligned / std::gcd(aligned, std::max<std::int64_t>(inner, 1));
  std::int64_t step = binding_elements(c, out.element) / std::max<std::int64_t>(inner, 1);
  for (std::size_t k = 0; k < operands.size(); ++k) {
    const std::int64_t stride = std::abs(loops[0].strides[k]);
    if (operands[k].kind != Operand::Kind::Tensor || stride == 0) continue;
    const Loops one = [&] {
      Loops inside = loops;
      inside[0].size = 1;
      return inside;
    }();
    const Reach reach = reach_of(operands[k], one, k, live);
    const std::int64_t room = binding_elements(c, operands[k].element) - (reach.end - reach.first) -
                              aligned_elements(operands[k].element);
    step = std::min(step, 1 + std::max<std::int64_t>(room, 0) / stride);
  }
  return std::max(step / unit * unit, unit);
}

void emit_piece(LowerContext& c, const Elementwise& what, const Piece& piece, const Elements& out) {
  const std::span<const Operand> operands = piece.operands;
  const Layout layout = lay_out(operands, piece.loops, what.live_base, out.element);
  const std::uint32_t wg = c.workgroup_size(kWorkgroup);
  KernelCall& call = c.emit("elementwise");
  call.define("WG", wg).define("EXPR", wide_form(what, operands));
  if (!what.library.empty()) call.define("LIB", what.library);
  if (uses_wide(what, operands, out.element)) call.define("WIDE", 1);
  if (uses_bytes(operands, out.element)) call.define("BYTES", 1);
  call.define("LANES", layout.elements ? "each" : layout.vectors ? "4" : "1");
  if (is_byte(out.element)) call.define("OUT_BYTES", 1);
  call.define("SPLITS", layout.loops.size() - 1);
  call.define("X", wgsl_type(what.x_type))
      .define("OUT", wgsl_type(out.element))
      .define("OUT_AS", wgsl_type(what.out));
  call.define("OUT_FROM", storing(what.out, out.element));
  for (std::size_t k = 0; k < operands.size(); ++k)
    define_operand(call, operands[k], k, layout.wide[k], piece.at[k]);
  call.write("out", out.buffer, piece.out);
  if (what.live_base.start != kNoValue)
    call.define("LIVE", 1).scalar("live_start", what.live_base.start);
  if (layout.elements) call.param("elements", *layout.elements);
  for (const Param& param : what.params) call.params({param});
  fill_params(call, what, operands, layout, piece.first);
  call.groups(div_up<std::int64_t>(layout.count, wg));
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

std::string_view wgsl_type(Element element) {
  constexpr std::string_view names[] = {"f32", "i32", "u32", "vec2<u32>"};
  return names[static_cast<std::size_t>(seen(element))];
}

std::string_view conversion(Element from, Element to) {
  return kConversions[static_cast<std::size_t>(seen(from))][static_cast<std::size_t>(seen(to))];
}

std::string_view storing(Element given, Element stored) {
  const bool narrows = given == Element::I64 && stored == Element::I32;
  return narrows ? "saturated_i32" : conversion(given, stored);
}

Storage storage_of(Element element) {
  constexpr Storage storages[] = {Storage::F32, Storage::I32,   Storage::I32,
                                  Storage::I64, Storage::Bytes, Storage::Bytes};
  return storages[static_cast<std::size_t>(element)];
}

Element stored_element_of(const LowerContext& c, ValueId value) {
  switch (c.storage_of(value)) {
    case Storage::I32:
      return Element::I32;
    case Storage::I64:
      return Element::I64;
    case Storage::Bytes:
      return c.graph().tensor(value)->dtype == DType::Int8 ? Element::I8 : Element::U8;
    default:
      return Element::F32;
  }
}

Number::Number(double number) : value(number), whole(0) {
  constexpr double kEdge = 9223372036854775808.0;  // 2^63
  if (number >= kEdge) {
    whole = std::numeric_limits<std::int64_t>::max();
  } else if (number >= -kEdge) {
    whole = static_cast<std::int64_t>(number);
  } else if (!std::isnan(number)) {
    whole = std::numeric_limits<std::int64_t>::min();
  }
}

Number number_argument(const CallContext& c, std::size_t arg) {
  const bool is_double = std::holds_alternative<double>(c.graph().value(c.id(arg)));
  return is_double ? Number(c.number(arg)) : Number(c.integer(arg));
}

Number baked_number(LowerContext& c, std::size_t arg) {
  if (c.is_symint(arg)) return Number(c.bake(c.id(arg)));
  return number_argument(c, arg);
}

Operand literal_operand(Number value, Element as) {
  return {.kind = Operand::Kind::Literal, .element = as, .as = as, .literal = value};
}

Operand operand(const LowerContext& c, std::size_t arg, Element as) {
  if (c.is_tensor(arg)) {
    return {.kind = Operand::Kind::Tensor,
            .element = stored_element(c, arg),
            .as = as,
            .buffer = c.value(arg)};
  }
  if (c.is_symint(arg)) {
    return {.kind = Operand::Kind::Live, .element = Element::I32, .as = as, .live = c.id(arg)};
  }
  return literal_operand(number_argument(c, arg), as);
}

void emit_elementwise(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                      const Loops& loops, const Elements& out) {
  const Loops walk = coalesced(loops);
  if (fits_bindings(c, operands, walk, out)) {
    emit_piece(c, what, {.loops = walk, .operands = {operands.begin(), operands.end()}}, out);
    return;
  }
  const std::int64_t step = steps_of(c, operands, walk, what.live_base, out);
  for (std::int64_t first = 0; first < walk[0].size; first += step) {
    emit_piece(c, what, piece_of(operands, walk, what.live_base, first, step, out.element), out);
  }
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
  emit_elementwise(c, what, operands, loops, output_elements(c));
}

void emit_fill(LowerContext& c, const Operand& number) {
  const Element out = output_element(c);
  const Loops loops{{c.sizes_of(c.output_id()).numel()}};
  emit_elementwise(c, {.expression = "a", .out = out, .x_type = out}, {&number, 1}, loops,
                   output_elements(c));
}

void emit_fill(LowerContext& c, Number number) {
  emit_fill(c, literal_operand(number, output_element(c)));
}

Loops copy_loops(const Dims& sizes, std::span<const std::int64_t> strides) {
  Loops loops(sizes.rank());
  for (std::size_t d = 0; d < sizes.rank(); ++d) loops[d] = {sizes[d], {strides[d], 0, 0}};
  return loops;
}

void emit_copy(LowerContext& c, const Elements& source, std::int64_t base, const Loops& loops,
               const Elements& out, const LiveBase& live_base) {
  // Words as they are, whatever they hold.
  const bool alike = source.element == out.element;
  const bool is_word = out.element != Element::I64 && !is_byte(out.element);
  const Element to = alike && is_word ? Element::U32 : out.element;
  const Element as = seen(to);
  const Operand from{.kind = Operand::Kind::Tensor,
                     .element = alike ? to : source.element,
                     .as = as,
                     .buffer = source.buffer,
                     .base = base};
  const Elementwise copy{
      .expression = "a", .out = as, .x_type = Element::U32, .live_base = live_base};
  emit_elementwise(c, copy, {&from, 1}, loops, {out.buffer, to});
}

// Integers of every width are computed as they are stored, and wrap where they are narrowed.
Result<void> lower_convert(LowerContext& c, std::size_t source_arg) {
  const DType from = c.dtype(source_arg), to = c.graph().tensor(c.output_id())->dtype;
  const Element in = seen(stored_element(c, source_arg)), out = output_element(c);
  Operand source = operand(c, source_arg, out);
  Elementwise what{.expression = "a", .out = out, .x_type = Element::U32};
  if (to == DType::Bool && from != DType::Bool) {
    source.as = in;
    what.expression = in == Element::F32   ? "i32((bitcast<u32>(a) & 0x7fffffffu) != 0u)"
                      : in == Element::I64 ? "i32(any(a != vec2<u32>()))"
                                           : "i32(a != 0)";
  } else if (from != to && from != DType::Bool) {
    if (to == DType::UInt8) what.expression = "a & 0xff";
    if (to == DType::Int8) what.expression = "(a << 24u) >> 24u";
  }
  const Loops loops{{c.sizes(source_arg).numel(), {1, 0, 0}}};
  emit_elementwise(c, what, {&source, 1}, loops, output_elements(c));
  return {};
}

void emit_narrow(LowerContext& c, ValueId source, BufferRef out) {
  const Operand from{.kind = Operand::Kind::Tensor,
                     .element = Element::I64,
                     .as = Element::I64,
                     .buffer = c.value_of(source)};
  const Loops loops{{c.sizes_of(source).numel(), {1, 0, 0}}};
  emit_elementwise(c, {.expression = "saturated_i32(a)", .out = Element::I32}, {&from, 1}, loops,
                   {out, Element::I32});
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

std::array<std::uint32_t, 2> words_of(const Number& number, Element element) {
  if (element == Element::F32)
    return {std::bit_cast<std::uint32_t>(static_cast<float>(number.value)), 0};
  std::int64_t whole = number.whole;
  if (element != Element::I64) {
    constexpr std::int64_t kLeast = std::numeric_limits<std::int32_t>::min();
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    whole = std::clamp(whole, kLeast, kMost);
  }
  const auto bits = static_cast<std::uint64_t>(whole);
  return {static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32)};
}

Number stored_number(const Number& number, DType dtype) {
  if (is_floating(dtype)) return number;
  if (dtype == DType::Bool) return Number(std::int64_t{number.value != 0});
  return Number(number.whole);
}

}  // namespace etwebgpu
