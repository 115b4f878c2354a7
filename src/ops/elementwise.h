// One kernel (elementwise.wgsl) for every operator whose output element is an expression of at most
// three operand elements: arithmetic, comparisons, conversions, fills, and all copies that only
// move elements, since an operand may be read with any strides.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace etwebgpu {

// What a 32-bit word is on the GPU.
enum class Element : std::uint8_t { F32, I32, U32 };

inline Element element_of(DType dtype) { return is_floating(dtype) ? Element::F32 : Element::I32; }

// A walk over the output in row-major order: one loop per dimension, outermost first, with the step
// of each operand in elements.
struct Loop {
  std::int64_t size = 1;
  std::array<std::int64_t, 3> strides{};
};
using Loops = std::vector<Loop>;

// Drops loops of size 1 and joins neighbours that walk memory alike; at least one loop remains.
Loops coalesced(const Loops& loops);

struct Operand {
  enum class Kind : std::uint8_t { Tensor, Literal, Live };
  Kind kind = Kind::Literal;
  Element element = Element::F32;  // as stored
  Element as = Element::F32;       // as the expression sees it
  BufferRef buffer = {};           // Tensor
  std::int64_t base = 0;           // Tensor: first element
  double literal = 0;
  ValueId live = kNoValue;  // Live: a SymInt
};

// A tensor argument, or a number: literal, or a SymInt whose value is bound live.
Operand operand(const LowerContext& c, std::size_t arg, Element as);
Operand literal_operand(double value, Element as);

// Adds to operand a's base the offset of a start position that a SymInt holds: negative counts from
// the end of `extent`, the result is clamped to it and times `stride`.
struct LiveBase {
  ValueId start = kNoValue;
  std::int64_t extent = 0;
  std::int64_t stride = 0;
};

struct Elementwise {
  // WGSL in a, b, c (the operands), x, y (below, of type x_type) and i (the output element's
  // index).
  std::string_view expression;
  std::string_view library = {};  // section of elementwise_math.wgsl
  Element out = Element::F32;
  Element x_type = Element::F32;
  double x = 0, y = 0;
  LiveBase live_base = {};
};

// out[i] = expression over all loops. The loops' strides belong to the operands in order. What does
// not fit a binding is computed piece by piece along the outermost loop.
void emit_elementwise(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                      const Loops& loops, BufferRef out);

// The same with operands of the given sizes broadcast to the call's output as in PyTorch (numbers
// have rank 0).
void emit_broadcast(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                    std::span<const Dims> sizes);

// Every element of the call's output is the one number.
void emit_fill(LowerContext& c, const Operand& number);
void emit_fill(LowerContext& c, double number);

// Loops of a copy that reads a source with these strides for each output dimension.
Loops copy_loops(const Dims& sizes, std::span<const std::int64_t> strides);

// Moves elements of `source` from `base` on to `out`, converting nothing.
void emit_copy(LowerContext& c, BufferRef source, std::int64_t base, const Loops& loops,
               BufferRef out, const LiveBase& live_base = {});

// Same elements in the same order, converted where the GPU element types differ.
Result<void> lower_convert(LowerContext& c, std::size_t source_arg);

// Broadcast of two sizes as in PyTorch, or an error naming both.
Result<Dims> broadcast(const Dims& a, const Dims& b);

// A number argument in `lower`; a SymInt's value is baked into the plan.
double baked_number(LowerContext& c, std::size_t arg);

// A number as a 32-bit word of the element type, saturated.
std::uint32_t word_of(double value, Element element);

// Elements of the recorded type that a number becomes when stored: 3.7 is 3 in an int tensor, true
// in a bool one.
double stored_number(double value, DType dtype);

}  // namespace etwebgpu
