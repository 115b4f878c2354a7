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

// What an element is on the GPU: in memory, and in an expression. I64 is a vec2<u32>, low word
// first. Bytes are four to a word in memory, and I32 elsewhere.
enum class Element : std::uint8_t { F32, I32, U32, I64, I8, U8 };

constexpr bool is_byte(Element element) { return element >= Element::I8; }
// As an expression sees what is stored so.
constexpr Element seen(Element stored) { return is_byte(stored) ? Element::I32 : stored; }

std::string_view wgsl_type(Element element);
// The WGSL function that makes a stored element, a byte already unpacked, one that an expression
// sees, and back: of elementwise.wgsl and wide_integers.wgsl. An integer that needs more bits than
// memory has stays out of their range.
std::string_view conversion(Element from, Element to);
std::string_view storing(Element given, Element stored);

Storage storage_of(Element element);
// In memory. Half pairs have no elements.
Element stored_element_of(const LowerContext& c, ValueId value);
inline Element stored_element(const LowerContext& c, std::size_t arg) {
  return stored_element_of(c, c.id(arg));
}
// The output's, as an expression gives it.
inline Element output_element(const LowerContext& c) {
  return seen(stored_element_of(c, c.output_id()));
}

// A number of a call: as a double, and exactly where it is an integer.
struct Number {
  Number(double number);  // NOLINT(google-explicit-constructor): literals are numbers
  explicit Number(std::int64_t integer) : value(static_cast<double>(integer)), whole(integer) {}
  double value;
  std::int64_t whole;  // saturated
};
Number number_argument(const CallContext& c, std::size_t arg);
// In `lower`; a SymInt's value is baked into the plan.
Number baked_number(LowerContext& c, std::size_t arg);

// A walk over the output in row-major order: one loop per dimension, outermost first, with the step
// of each operand in elements.
struct Loop {
  std::int64_t size = 1;
  std::array<std::int64_t, 3> strides{};
};
using Loops = std::vector<Loop>;

// Drops loops of size 1 and joins neighbours that walk memory alike; at least one loop remains.
Loops coalesced(const Loops& loops);

// A buffer of elements.
struct Elements {
  BufferRef buffer;
  Element element = Element::F32;
};
inline Elements elements_of(const LowerContext& c, ValueId value) {
  return {c.value_of(value), stored_element_of(c, value)};
}
inline Elements output_elements(const LowerContext& c) { return elements_of(c, c.output_id()); }

struct Operand {
  enum class Kind : std::uint8_t { Tensor, Literal, Live };
  Kind kind = Kind::Literal;
  Element element = Element::F32;  // as stored
  Element as = Element::F32;       // as the expression sees it
  BufferRef buffer = {};           // Tensor
  std::int64_t base = 0;           // Tensor: first element
  Number literal = 0.0;
  ValueId live = kNoValue;  // Live: a SymInt
};

// A tensor argument, or a number: literal, or a SymInt whose value is bound live.
Operand operand(const LowerContext& c, std::size_t arg, Element as);
Operand literal_operand(Number value, Element as);

// Adds to operand a's base the offset of a start position that a SymInt holds: negative counts from
// the end of `extent`, the result is clamped to it and times `stride`.
struct LiveBase {
  ValueId start = kNoValue;
  std::int64_t extent = 0;
  std::int64_t stride = 0;
};

struct Elementwise {
  // WGSL in a, b, c (the operands), x, y (below, of type x_type) and i (the output element's
  // index). In 64 bits an integer expression becomes its wide form (kWideForms).
  std::string_view expression;
  std::string_view library = {};  // section of elementwise_math.wgsl
  Element out = Element::F32;     // of the expression
  Element x_type = Element::F32;
  Number x = 0.0, y = 0.0;
  LiveBase live_base = {};
  std::span<const Param> params = {};  // that the library mentions
};

// out[i] = expression over all loops. The loops' strides belong to the operands in order.
void emit_elementwise(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                      const Loops& loops, const Elements& out);

// The same with operands of the given sizes broadcast to the call's output as in PyTorch (numbers
// have rank 0).
void emit_broadcast(LowerContext& c, const Elementwise& what, std::span<const Operand> operands,
                    std::span<const Dims> sizes);

// Every element of the call's output is the one number.
void emit_fill(LowerContext& c, const Operand& number);
void emit_fill(LowerContext& c, Number number);

// Loops of a copy that reads a source with these strides for each output dimension.
Loops copy_loops(const Dims& sizes, std::span<const std::int64_t> strides);

// Moves elements of `source` from `base` on to `out`; only widths of integers may differ.
void emit_copy(LowerContext& c, const Elements& source, std::int64_t base, const Loops& loops,
               const Elements& out, const LiveBase& live_base = {});

// Same elements in the same order, converted where types differ.
Result<void> lower_convert(LowerContext& c, std::size_t source_arg);

// Integers of 64 bits to 32, saturated.
void emit_narrow(LowerContext& c, ValueId source, BufferRef out);

// Broadcast of two sizes as in PyTorch, or an error naming both.
Result<Dims> broadcast(const Dims& a, const Dims& b);

// A number as the words of the element type, saturated.
std::array<std::uint32_t, 2> words_of(const Number& value, Element element);

// Elements of the recorded type that a number becomes when stored: 3.7 is 3 in an int tensor, true
// in a bool one.
Number stored_number(const Number& value, DType dtype);

}  // namespace etwebgpu
