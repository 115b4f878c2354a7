// How a constant's bytes are laid out on the GPU. A packing is a pure function from the exporter's
// bytes to the device's bytes, computed range by range so that weights stream through a small
// staging buffer.
//
// The choice of packing may depend on the device and the recorded sizes only, never on live sizes:
// all plans of a model share one copy of its weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/result.h"
#include "base/storage.h"

namespace etwebgpu {

// The panel packings hold matrices [N, K] (N output rows, K summed over) for linear layers and
// embedding tables. A word holds 8, 4, 2 or 1 neighbouring k of one output row; kPanel output rows
// lie side by side:
//
//   word(n, kw) = (n / kPanel * KW + kw) * kPanel + n % kPanel,   KW = ceil(K / elements per word)
//
// So neighbouring invocations that own neighbouring output rows read neighbouring words, any run of
// whole panels is one range of bytes (a matrix larger than a storage binding is bound piece by
// piece), and one layout serves one row of activations and many. Missing rows and elements are
// zeros.
enum class Packing : std::uint8_t {
  Words,        // every element widened to one 32-bit word: f32, or i32 for integers and bool
  HalfPairs,    // as Storage::HalfPairs
  WideWords,    // as Storage::I64
  Bytes,        // as Storage::Bytes
  Q4Panels,     // u8 nibble pairs [N, K/2]; a word holds 8 elements as value + 8, the first lowest
  Q8Panels,     // i8 [N, K]; a word holds 4 elements in two's complement, the first lowest
  HalfPanels,   // f16 [N, K], or [N] as [N, 1]; a word holds 2 elements, the first lowest
  FloatPanels,  // f32 or f16 [N, K], or [N] as [N, 1]; a word holds one f32
};

inline constexpr std::int64_t kPanel = 64;  // output rows per panel
inline constexpr std::uint64_t kPanelRowBytes = kWord * kPanel;

constexpr std::string_view name(Packing packing) {
  constexpr std::string_view names[] = {"words",     "half-pairs", "wide-words",  "bytes",
                                        "q4-panels", "q8-panels",  "half-panels", "float-panels"};
  return names[static_cast<std::size_t>(packing)];
}

// Of a tensor that is stored so.
constexpr Packing flat_packing(Storage storage) {
  switch (storage) {
    case Storage::HalfPairs:
      return Packing::HalfPairs;
    case Storage::I64:
      return Packing::WideWords;
    case Storage::Bytes:
      return Packing::Bytes;
    default:
      return Packing::Words;
  }
}
// The reverse.
constexpr Storage flat_storage(Packing packing, DType dtype) {
  switch (packing) {
    case Packing::HalfPairs:
      return Storage::HalfPairs;
    case Packing::WideWords:
      return Storage::I64;
    case Packing::Bytes:
      return Storage::Bytes;
    default:
      return word_storage(dtype);
  }
}

constexpr bool is_panels(Packing packing) { return packing >= Packing::Q4Panels; }

// Elements per word of a panel packing.
constexpr std::int64_t panel_elements(Packing packing) {
  switch (packing) {
    case Packing::Q4Panels:
      return 8;
    case Packing::Q8Panels:
      return 4;
    case Packing::HalfPanels:
      return 2;
    default:
      return 1;
  }
}

// One tensor's bytes inside a packed constant.
struct PackedPart {
  std::int32_t constant = -1;  // index into Graph::constants
  DType dtype = DType::Float32;
  Dims dims;                       // as recorded; Q4Panels: of bytes, so K = 2 * dims[1]
  bool high_nibble_first = false;  // Q4Panels: the even element is in the high nibble
  bool transposed = false;         // HalfPanels, FloatPanels: the source is [K, N]
  // Panels: output rows taken, from first_row on; the rest, an exporter's alignment or another
  // part's, is dropped. -1 takes all.
  std::int64_t first_row = 0, rows = -1;
  // Panels: elements of K taken, from the first on, both whole words; -1 takes all.
  std::int64_t first_k = 0, count_k = -1;
  bool operator==(const PackedPart&) const = default;

  // The matrix [N, K] of a panel packing. Requires a part that packed_size accepts.
  std::int64_t panel_rows() const {
    return rows >= 0 ? rows : dims[transposed ? 1 : 0] - first_row;
  }
};

// A constant buffer on the device: one or more tensors one after the other. With panels, each part
// starts a new panel and all have the same K.
struct PackedConstant {
  Packing packing = Packing::Words;
  std::vector<PackedPart> parts;
  bool operator==(const PackedConstant&) const = default;
};

// Bytes of the packed constant, a multiple of 16, or an error if the parts do not fit the packing.
Result<std::uint64_t> packed_size(const PackedConstant& constant);

// Words per output row of a panel packing (KW above). Requires a part that packed_size accepts.
std::int64_t panel_words(Packing packing, const PackedPart& part);

// Bytes a part must bring: the host's data is checked against it before packing.
std::uint64_t source_size(const PackedPart& part);

// A stretch of a packed constant, and the few bytes of one part's source that it is made of:
// weights can be packed with neither the source nor the result in memory as a whole. A transposed
// source has neighbouring k of all output rows together, so its stretch is a piece of each panel.
struct PackedWindow {
  std::uint64_t offset = 0, size = 0;  // in the packed constant; multiples of 16
  // The `size` bytes are so many pieces of the same size, whose beginnings are `stride` bytes
  // apart.
  std::uint64_t pieces = 1, stride = 0;
  std::size_t part = 0;                              // number of the part
  std::uint64_t source_offset = 0, source_size = 0;  // in that part's bytes
  PackedConstant constant = {};                      // is these bytes, made of those
};

// All of a constant, part by part. Windows have at most `most` bytes, or one panel, or one word
// of each row of a transposed part, if that is more. Requires a constant that packed_size accepts.
std::vector<PackedWindow> packed_windows(const PackedConstant& constant, std::uint64_t most);

// Writes bytes [offset, offset + out.size()) of the packed constant. `sources[i]` holds parts[i]'s
// bytes (source_size of them). `offset` and `out.size()` are multiples of 16.
void pack_range(const PackedConstant& constant, std::span<const std::span<const std::byte>> sources,
                std::uint64_t offset, std::span<std::byte> out);

}  // namespace etwebgpu
