#include "ops/bytes/bytes.h"

#include <cmath>
#include <limits>

namespace etwebgpu {
namespace {

// Sums are kept in 32 bits: of products of a difference of 8-bit integers with another.
constexpr std::int64_t kLongestSum = std::numeric_limits<std::int32_t>::max() / (255 * 128);

// Of one f32 for each of the first `count` elements.
Result<BufferRef> vector_of(LowerContext& c, std::size_t arg, std::int64_t count) {
  TRY_ASSIGN(PackedPart part, c.part(arg));
  part.rows = count;
  return c.packed({Packing::FloatPanels, {part}});
}

Result<void> check_vector(const CallContext& c, std::size_t arg, std::int64_t count,
                          std::string_view what) {
  const Dims& sizes = c.sizes(arg);
  CHECK_OR_FAIL(is_floating(c.dtype(arg)) && sizes.rank() == 1 && sizes[0] >= count,
                ErrorKind::InvalidProgram, what, " of type ", name(c.dtype(arg)), " and sizes ",
                to_string(sizes), " does not hold ", count, " numbers");
  return {};
}

bool is_usable(double scale) {
  const auto one = static_cast<float>(scale), inverse = static_cast<float>(1.0 / scale);
  return std::isfinite(one) && one > 0 && std::isfinite(inverse) && inverse > 0;
}

bool has_relu(const CallContext& c, const ByteResults& args) {
  return c.text(args.activation) == "relu";
}

// --- The product ---

struct Tiling {
  std::int64_t rows, splits, depth;
  std::int64_t invocations() const { return 4 * rows * splits; }
};

Tiling choose_tiling(const LowerContext& c, std::int64_t rows, std::int64_t panels) {
  constexpr std::int64_t kManyTiles = 64;  // of which a GPU's cores all get some
  const auto fits = [&](const Tiling& t) {
    const auto invocations = static_cast<std::uint32_t>(t.invocations());
    return c.workgroup_size(invocations) == invocations;
  };
  const Tiling large{64, 1, 16}, medium{16, 1, 16}, split{4, 8, 32}, small{4, 1, 16};
  if (rows > 16 && fits(medium)) {
    const bool many = div_up(rows, large.rows) * panels >= kManyTiles;
    return many && !c.is_software() && fits(large) ? large : medium;
  }
  return !c.is_software() && fits(split) ? split : small;
}

// Neighbours that are whole words of the output.
std::string_view packed_neighbours(const ByteProduct& p) {
  if (p.plane_elements % 4 == 0) return "rows";
  return p.plane_elements == 1 && p.columns % 4 == 0 ? "columns" : "none";
}

}  // namespace

Result<Quantization> read_quantization(const CallContext& c, std::size_t scale,
                                       std::size_t zero_point, std::string_view what) {
  CHECK_OR_FAIL(!c.is_symint(scale), ErrorKind::NotSupported, "a scale of ", what,
                " that is computed while the program runs");
  const Quantization q{c.number(scale), c.integer(zero_point)};
  CHECK_OR_FAIL(is_usable(q.scale), ErrorKind::InvalidProgram, "the scale ", q.scale, " of ", what);
  CHECK_OR_FAIL(q.zero_point >= -128 && q.zero_point <= 127, ErrorKind::InvalidProgram,
                "the zero point ", q.zero_point, " of ", what, " is not one of int8");
  return q;
}

Result<void> check_bytes(const CallContext& c, std::size_t arg, std::string_view what) {
  CHECK_OR_FAIL(c.dtype(arg) == DType::Int8, ErrorKind::NotSupported, what, " of type ",
                name(c.dtype(arg)), ", where int8 is due");
  return {};
}

BufferRef byte_input(LowerContext& c, std::size_t arg) {
  if (c.storage(arg) == Storage::Bytes) return c.value(arg);
  const std::int64_t count = c.sizes(arg).numel();
  const BufferRef out = c.scratch(count, Storage::Bytes);
  emit_copy(c, elements_of(c, c.id(arg)), 0, {{count, {1, 0, 0}}}, {out, Element::I8});
  return out;
}

BufferRef byte_output(LowerContext& c) {
  if (c.storage(c.output_arg()) == Storage::Bytes) return c.output();
  return c.scratch(c.sizes(c.output_arg()).numel(), Storage::Bytes);
}

void put_output(LowerContext& c, const Elements& made) {
  if (made.buffer == c.output()) return;
  const std::int64_t count = c.sizes(c.output_arg()).numel();
  emit_copy(c, made, 0, {{count, {1, 0, 0}}}, output_elements(c));
}

Result<void> check_results(const CallContext& c, const ByteResults& args, std::int64_t outputs,
                           std::int64_t scale_count, std::int64_t depth) {
  TRY(check_bytes(c, 0, "x"));
  TRY(check_bytes(c, c.output_arg(), "the output"));
  TRY(read_quantization(c, args.x_scale, args.x_zero_point, "x"));
  TRY(read_quantization(c, args.out_scale, args.out_zero_point, "the output"));
  TRY(check_vector(c, args.scales, scale_count, "the weight's scales"));
  if (!c.is_none(args.bias)) TRY(check_vector(c, args.bias, outputs, "the bias"));
  CHECK_OR_FAIL(c.text(args.activation) == "none" || has_relu(c, args), ErrorKind::NotSupported,
                "the activation '", c.text(args.activation), "'");
  CHECK_OR_FAIL(depth >= 1 && depth <= kLongestSum, ErrorKind::NotSupported, "sums of ", depth,
                " products of 8-bit integers: 1 to ", kLongestSum, " are exact in 32 bits");
  return {};
}

Result<void> bind_results(LowerContext& c, KernelCall& k, const ByteResults& args,
                          std::int64_t outputs, std::int64_t scale_count) {
  TRY_ASSIGN(const Quantization x, read_quantization(c, args.x_scale, args.x_zero_point, "x"));
  TRY_ASSIGN(const Quantization out,
             read_quantization(c, args.out_scale, args.out_zero_point, "the output"));
  TRY_ASSIGN(const BufferRef scales, vector_of(c, args.scales, scale_count));
  k.read("scales", scales);
  if (!c.is_none(args.bias)) {
    TRY_ASSIGN(const BufferRef bias, vector_of(c, args.bias, outputs));
    k.define("BIAS", 1).read("bias", bias);
  }
  // What relu leaves of what is below 0, in 8 bits.
  const std::int64_t lowest = has_relu(c, args) ? out.zero_point : -128;
  k.params({{"x_scale", x.scale},
            {"x_zero_point", Signed{x.zero_point}},
            {"inverse_scale", 1.0 / out.scale},
            {"out_zero_point", static_cast<double>(out.zero_point)},
            {"lowest", static_cast<double>(lowest)}});
  return {};
}

Result<void> lower_byte_product(LowerContext& c, const ByteProduct& p, const ByteResults& results) {
  TRY_ASSIGN(PackedPart part, c.part(p.weight));
  part.rows = p.columns;
  part.count_k = p.depth;
  TRY_ASSIGN(const BufferRef weights, c.packed({Packing::Q8Panels, {part}}));
  const std::int64_t panels = div_up(p.columns, kPanel);
  const Tiling tiling = choose_tiling(c, p.rows, panels);
  const std::int64_t blocks = div_up(p.rows, tiling.rows);
  const std::string_view packed = packed_neighbours(p);
  const std::int64_t count = p.rows * p.columns;
  const Elements out = packed == "none" ? Elements{c.scratch(count, Storage::I32), Element::I32}
                                        : Elements{byte_output(c), Element::I8};
  KernelCall& k = c.emit("byte_tiles");
  k.define("WG", tiling.invocations()).define("TILE", tiling.rows);
  k.define("SPLITS", tiling.splits).define("DEPTH", tiling.depth);
  k.define("PACKED", packed);
  k.define("DOT", c.capabilities().packed_products ? "packed" : "vectors");
  k.define("LOAD", p.x.fragment).define("SUMS", "vec4<i32>");
  for (const auto& [name, value] : p.x.defines) k.define(name, value);
  for (const GemmDoor::Buffer& b : p.x.buffers) k.read(b.name, b.buffer);
  k.read("weights", weights);
  TRY(bind_results(c, k, results, p.columns, p.columns));
  k.write("out", out.buffer);
  for (const Param& param : p.x.params) k.params({param});
  k.params({{"count", p.rows},
            {"row_blocks", blocks},
            {"panels", panels},
            {"words", panel_words(Packing::Q8Panels, part)},
            {"columns", p.columns},
            {"plane_elements", p.plane_elements}});
  k.groups(panels * blocks);
  put_output(c, out);
  return {};
}

GemmDoor plain_byte_rows(BufferRef x, std::int64_t rows, std::int64_t depth) {
  return {.fragment = "byte_rows_plain",
          .buffers = {{"x", x}},
          .params = {{"depth", depth}, {"x_words", div_up<std::int64_t>(rows * depth, 4)}},
          .defines = {{"ALIGNED", depth % 4 == 0 ? 1 : 0}}};
}

Result<void> check_byte_matrix(const CallContext& c, std::size_t weight, std::int64_t columns,
                               std::int64_t depth) {
  const Dims& sizes = c.sizes(weight);
  CHECK_OR_FAIL(c.dtype(weight) == DType::Int8 && sizes.rank() == 2 && sizes[0] >= columns &&
                    sizes[1] >= depth && sizes[1] < depth + 4,
                ErrorKind::InvalidProgram, "a weight of type ", name(c.dtype(weight)),
                " and sizes ", to_string(sizes), " does not hold ", columns, " rows of ", depth);
  return {};
}

}  // namespace etwebgpu
