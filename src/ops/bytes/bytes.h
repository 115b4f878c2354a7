// Operators whose activations are 8-bit integers with one scale and zero point for a tensor: what
// they take and give, and the product of rows of such with a constant matrix.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ops/elementwise/elementwise.h"
#include "ops/gemm/gemm.h"
#include "ops/op.h"

namespace etwebgpu {

// value = (integer - zero point) * scale
struct Quantization {
  double scale = 1.0;
  std::int64_t zero_point = 0;
};

// Of int8 tensors, from arguments with numbers; `what` is the tensor's name in refusals.
Result<Quantization> read_quantization(const CallContext& c, std::size_t scale,
                                       std::size_t zero_point, std::string_view what);

Result<void> check_bytes(const CallContext& c, std::size_t arg, std::string_view what);

// The argument in Storage::Bytes; packed first where an operator that does not take that uses it.
BufferRef byte_input(LowerContext& c, std::size_t arg);
// The call's output, or bytes that put_output makes it of.
BufferRef byte_output(LowerContext& c);
void put_output(LowerContext& c, const Elements& made);

// How sums of products become results (parts/requantize.wgsl).
struct ByteResults {
  // Arguments of the operator; the activation is "none" or "relu".
  std::size_t x_scale, x_zero_point, scales, out_scale, out_zero_point, bias, activation;
};

// Checks them for so many outputs, whose scales repeat after `scale_count`, and the `depth` of each
// sum.
Result<void> check_results(const CallContext& c, const ByteResults& args, std::int64_t outputs,
                           std::int64_t scale_count, std::int64_t depth);
// Gives a kernel what it has to know of them.
Result<void> bind_results(LowerContext& c, KernelCall& k, const ByteResults& args,
                          std::int64_t outputs, std::int64_t scale_count);

// The output [images, columns, plane_elements] of x times a weight [columns, depth].
struct ByteProduct {
  GemmDoor x = {};  // a fragment that gives quad_words (byte_tiles.wgsl)
  std::int64_t rows = 0, depth = 0, columns = 0;
  std::int64_t plane_elements = 1;  // neighbouring rows that are one image
  std::size_t weight = 3;           // argument
};

Result<void> lower_byte_product(LowerContext& c, const ByteProduct& product,
                                const ByteResults& results);

// Rows that lie one after the other.
GemmDoor plain_byte_rows(BufferRef x, std::int64_t rows, std::int64_t depth);

// A weight [>= columns, depth], whose rows may be padded to multiples of 4.
Result<void> check_byte_matrix(const CallContext& c, std::size_t weight, std::int64_t columns,
                               std::int64_t depth);

}  // namespace etwebgpu
