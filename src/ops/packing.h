// How a constant's bytes are laid out on the GPU. A packing is a pure function from the exporter's bytes
// to the device's bytes, computed range by range so that weights stream through a small staging buffer.
//
// The choice of packing may depend on the device and the recorded sizes only, never on live sizes: all
// plans of a model share one copy of its weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/result.h"

namespace etwebgpu {

enum class Packing : std::uint8_t {
  Words,         // every element widened to one 32-bit word: f32, or i32 for integers and bool
  HalfPairs,     // floating elements as two f16 per word
  Q4Rows,        // [N, K/2] nibble pairs, rows padded to whole 16-byte vectors (nibble 8 = zero)
  Q4Columns,     // the same nibbles as [K/8][N] words: neighbouring rows are neighbours in memory
  TransposeWords,  // a matrix [R, C] stored as [C, R] words
};

// One tensor's bytes inside a packed constant.
struct PackedPart {
  std::int32_t constant = -1;  // index into Graph::constants
  DType dtype = DType::Float32;
  Dims dims;                   // as recorded
  bool high_nibble_first = false;  // Q4 packings: the even element is in the high nibble
  bool operator==(const PackedPart&) const = default;
};

// A constant buffer on the device: one or more tensors stacked along their output-row dimension (Q4:
// rows; TransposeWords: columns of the source).
struct PackedConstant {
  Packing packing = Packing::Words;
  std::vector<PackedPart> parts;
  bool operator==(const PackedConstant&) const = default;
};

// Bytes of the packed constant, a multiple of 16, or an error if the parts do not fit the packing.
Result<std::uint64_t> packed_size(const PackedConstant& constant);

// Bytes a part must bring: the host's data is checked against it before packing.
std::uint64_t source_size(const PackedPart& part);

// Writes bytes [offset, offset + out.size()) of the packed constant. `sources[i]` holds parts[i]'s bytes
// (source_size of them). `offset` and `out.size()` are multiples of 16.
void pack_range(const PackedConstant& constant, std::span<const std::span<const std::byte>> sources,
                std::uint64_t offset, std::span<std::byte> out);

}  // namespace etwebgpu
