#include "ops/packing.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "base/elements.h"

namespace etwebgpu {
namespace {

constexpr std::uint64_t kAlign = 16;
constexpr std::int64_t kBlock = 16;  // panel rows packed together: 64 source bytes, one cache line

// Calls f with a function from element index to the element as a word.
template <typename F>
void with_words(DType dtype, const std::byte* data, F&& f) {
  visit_type(dtype, [&]<typename T>(T) {
    f([=](std::int64_t i) { return word_of(element_at<T>(data, i)); });
  });
}

// --- Shapes ---

// Columns of a row-major source seen as a matrix [first dim, the others].
std::int64_t source_columns(const PackedPart& part) {
  return part.dims.product(1, part.dims.rank());
}

// The K of the source's matrix [N, K], and what of it is taken.
std::int64_t source_depth(Packing packing, const PackedPart& part) {
  if (part.transposed) return part.dims[0];
  return source_columns(part) * (packing == Packing::Q4Panels ? 2 : 1);
}
std::int64_t panel_depth(Packing packing, const PackedPart& part) {
  return part.count_k >= 0 ? part.count_k : source_depth(packing, part);
}

bool dtype_fits(Packing packing, DType dtype) {
  if (!is_panels(packing)) return can_store(flat_storage(packing, dtype), dtype);
  switch (packing) {
    case Packing::Q4Panels:
      return dtype == DType::UInt8 || dtype == DType::Int8;
    case Packing::Q8Panels:
      return dtype == DType::Int8;
    case Packing::HalfPanels:
      return dtype == DType::Float16;
    case Packing::FloatPanels:
      return is_floating(dtype);
    default:
      return true;
  }
}

bool rank_fits(Packing packing, const PackedPart& part) {
  if (part.transposed) return part.dims.rank() == 2;
  if (packing == Packing::HalfPanels || packing == Packing::FloatPanels)
    return part.dims.rank() >= 1;
  return !is_panels(packing) || part.dims.rank() >= 2;
}

std::uint64_t part_bytes(Packing packing, const PackedPart& part) {
  if (is_panels(packing)) {
    const std::int64_t rows = div_up(part.panel_rows(), kPanel) * panel_words(packing, part);
    return static_cast<std::uint64_t>(rows) * kPanelRowBytes;
  }
  const Storage storage = flat_storage(packing, part.dtype);
  return round_up(storage_bytes(storage, part.dims.numel()), kAlign);
}

// Bytes of kPanel output rows.
std::uint64_t panel_bytes_of(Packing packing, const PackedPart& part) {
  return static_cast<std::uint64_t>(panel_words(packing, part)) * kPanelRowBytes;
}

Result<void> check_part(Packing packing, const PackedPart& part) {
  CHECK_OR_FAIL(dtype_fits(packing, part.dtype) && rank_fits(packing, part),
                ErrorKind::NotSupported, "a constant of type ", name(part.dtype), " and sizes ",
                to_string(part.dims), " does not fit the weight layout ", name(packing));
  if (!is_panels(packing)) return {};
  const bool halves_or_floats = packing == Packing::HalfPanels || packing == Packing::FloatPanels;
  CHECK_OR_FAIL(!part.transposed || halves_or_floats, ErrorKind::Internal, "the weight layout ",
                name(packing), " cannot be transposed");
  const std::int64_t available = part.dims[part.transposed ? 1 : 0];
  CHECK_OR_FAIL(part.first_row >= 0 && part.first_row <= available && part.rows >= -1 &&
                    part.rows <= available - part.first_row,
                ErrorKind::InvalidProgram, "a constant of sizes ", to_string(part.dims), " has ",
                available, " output rows, but ", part.rows, " from ", part.first_row,
                " on are needed");
  const std::int64_t depth = source_depth(packing, part), elements = panel_elements(packing);
  CHECK_OR_FAIL(part.first_k >= 0 && part.first_k % elements == 0 &&
                    panel_depth(packing, part) <= depth - part.first_k,
                ErrorKind::Internal, "elements from ", part.first_k, " on of ", depth,
                " cannot be packed as ", name(packing));
  const auto words = checked_mul(round_up(part.panel_rows(), kPanel), panel_words(packing, part));
  CHECK_OR_FAIL(words && *words <= std::int64_t{1} << 56, ErrorKind::InvalidProgram,
                "a constant of sizes ", to_string(part.dims), " is too large");
  return {};
}

// --- Panels ---

// Word kw of a row of bytes; past its end come the bytes of `fill`.
std::uint32_t byte_word(const std::byte* row, std::int64_t row_bytes, std::int64_t kw,
                        std::uint32_t fill) {
  const std::int64_t left = row_bytes - 4 * kw;
  if (left >= 4) return element_at<std::uint32_t>(row, kw);
  std::memcpy(&fill, row + 4 * kw, static_cast<std::size_t>(left));
  return fill;
}

// Word kw of source row n, by packing.
struct Q4Source {
  const std::byte* data;
  std::int64_t row_stride, row_bytes;
  bool swap;
  std::uint32_t operator()(std::int64_t n, std::int64_t kw) const {
    const std::uint32_t word = byte_word(data + n * row_stride, row_bytes, kw, 0x88888888u);
    return swap ? (word & 0x0f0f0f0fu) << 4 | (word >> 4 & 0x0f0f0f0fu) : word;
  }
};

struct Q8Source {
  const std::byte* data;
  std::int64_t row_stride, row_bytes;
  std::uint32_t operator()(std::int64_t n, std::int64_t kw) const {
    return byte_word(data + n * row_stride, row_bytes, kw, 0);
  }
};

struct HalfSource {
  const std::byte* data;
  std::int64_t depth, row_stride, k_stride;
  std::uint32_t operator()(std::int64_t n, std::int64_t kw) const {
    const std::int64_t at = n * row_stride + 2 * kw * k_stride;
    const std::uint32_t low = element_at<std::uint16_t>(data, at);
    if (2 * kw + 1 >= depth) return low;
    return low | std::uint32_t{element_at<std::uint16_t>(data, at + k_stride)} << 16;
  }
};

// `count` words of 64 rows each, from word row kw0 of one panel. Sources are read along their
// contiguous dimension where that is k (cache lines), and along the panel where it is n. Written a
// block at a time, in order: `out` may be mapped memory that no cache is in front of.
template <typename Source>
void fill_panel(const Source& source, std::int64_t first_row, std::int64_t rows, std::int64_t kw0,
                std::int64_t count, std::uint32_t fill, bool along_rows, std::byte* out) {
  std::array<std::uint32_t, kBlock * kPanel> words;
  const std::int64_t block = along_rows ? 1 : kBlock;
  for (std::int64_t begin = kw0; begin < kw0 + count; begin += block) {
    const std::int64_t size = std::min(block, kw0 + count - begin);
    for (std::int64_t lane = 0; lane < rows; ++lane)
      for (std::int64_t i = 0; i < size; ++i)
        words[i * kPanel + lane] = source(first_row + lane, begin + i);
    for (std::int64_t i = 0; i < size; ++i)
      for (std::int64_t lane = rows; lane < kPanel; ++lane) words[i * kPanel + lane] = fill;
    const std::size_t bytes = static_cast<std::size_t>(size) * kPanelRowBytes;
    std::memcpy(out, words.data(), bytes);
    out += bytes;
  }
}

// Whole panel rows [first, first + count) of a part, counted through all its panels.
template <typename Source>
void pack_panel_rows(Packing packing, const PackedPart& part, const Source& source,
                     std::int64_t first, std::int64_t count, std::byte* out) {
  const std::int64_t words = panel_words(packing, part);
  const std::uint32_t fill = packing == Packing::Q4Panels ? 0x88888888u : 0;
  while (count > 0) {
    const std::int64_t row = first / words * kPanel;
    const std::int64_t run = std::min(count, words - first % words);
    fill_panel(source, row, std::min(kPanel, part.panel_rows() - row), first % words, run, fill,
               part.transposed, out);
    first += run;
    count -= run;
    out += run * static_cast<std::int64_t>(kPanelRowBytes);
  }
}

// Bytes that begin or end inside a panel row go through one row on the stack.
template <typename Source>
void pack_panel_bytes(Packing packing, const PackedPart& part, const Source& source,
                      std::uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const auto row = static_cast<std::int64_t>(offset / kPanelRowBytes);
    const std::uint64_t inside = offset % kPanelRowBytes;
    std::size_t done = 0;
    if (inside == 0 && out.size() >= kPanelRowBytes) {
      const std::size_t rows = out.size() / kPanelRowBytes;
      pack_panel_rows(packing, part, source, row, static_cast<std::int64_t>(rows), out.data());
      done = rows * kPanelRowBytes;
    } else {
      std::byte whole[kPanelRowBytes];
      pack_panel_rows(packing, part, source, row, 1, whole);
      done = std::min<std::size_t>(out.size(), kPanelRowBytes - inside);
      std::memcpy(out.data(), whole + inside, done);
    }
    out = out.subspan(done);
    offset += done;
  }
}

void pack_panels(Packing packing, const PackedPart& part, const std::byte* data,
                 std::uint64_t offset, std::span<std::byte> out) {
  const std::int64_t columns = source_columns(part);
  const std::int64_t row_stride = part.transposed ? 1 : columns;
  const std::int64_t k_stride = part.transposed ? columns : 1;
  const std::int64_t depth = panel_depth(packing, part);
  const std::int64_t first = part.first_k * k_stride + part.first_row * row_stride;
  auto pack = [&](const auto& source) { pack_panel_bytes(packing, part, source, offset, out); };
  switch (packing) {
    case Packing::Q4Panels:
      return pack(Q4Source{data + part.first_k / 2 + part.first_row * columns, columns, depth / 2,
                           part.high_nibble_first});
    case Packing::Q8Panels:
      return pack(Q8Source{data + first, columns, depth});
    case Packing::HalfPanels:
      return pack(HalfSource{data + 2 * first, depth, row_stride, k_stride});
    default:
      return with_words(part.dtype, data, [&](auto word) {
        pack([=](std::int64_t n, std::int64_t k) {
          return word(first + n * row_stride + k * k_stride);
        });
      });
  }
}

// --- Flat packings ---

void pack_flat(Storage storage, const PackedPart& part, const std::byte* data, std::uint64_t offset,
               std::span<std::byte> out) {
  const std::int64_t begin = storage_elements(storage, offset);
  const std::int64_t end =
      std::min(begin + storage_elements(storage, out.size()), part.dims.numel());
  if (begin >= end) return;
  const std::byte* first = data + begin * static_cast<std::int64_t>(byte_size(part.dtype));
  store_elements(part.dtype, first, end - begin, storage, out.data());
}

void pack_part(Packing packing, const PackedPart& part, const std::byte* data, std::uint64_t offset,
               std::span<std::byte> out) {
  if (is_panels(packing)) return pack_panels(packing, part, data, offset, out);
  std::ranges::fill(out.last(std::min<std::size_t>(out.size(), kAlign)),
                    std::byte{0});  // the alignment
  pack_flat(flat_storage(packing, part.dtype), part, data, offset, out);
}

}  // namespace

std::int64_t panel_words(Packing packing, const PackedPart& part) {
  return div_up(panel_depth(packing, part), panel_elements(packing));
}

Result<std::uint64_t> packed_size(const PackedConstant& constant) {
  std::uint64_t total = 0;
  for (const PackedPart& part : constant.parts) {
    TRY(check_part(constant.packing, part));
    if (is_panels(constant.packing)) {
      const std::int64_t first = panel_depth(constant.packing, constant.parts[0]);
      const std::int64_t depth = panel_depth(constant.packing, part);
      CHECK_OR_FAIL(depth == first, ErrorKind::Internal, "constants with ", first, " and ", depth,
                    " elements per output row cannot share a buffer");
    }
    const auto sum = checked_add(total, part_bytes(constant.packing, part));
    CHECK_OR_FAIL(sum.has_value(), ErrorKind::InvalidProgram, "a packed constant's size overflows");
    total = *sum;
  }
  return total;
}

namespace {

// What a part is cut into.
struct Units {
  std::uint64_t count, bytes;
};

Units units_of(Packing packing, const PackedPart& part) {
  const std::uint64_t bytes = part_bytes(packing, part);
  if (!is_panels(packing)) return {bytes / kAlign, kAlign};
  const std::uint64_t panel = panel_bytes_of(packing, part);
  const std::uint64_t panels = panel == 0 ? 0 : bytes / panel;
  if (!part.transposed) return {panels, panel};
  return {panel / kPanelRowBytes, panels * kPanelRowBytes};
}

// Rows [first, first + rows) of a source of rows.
void take_rows(const PackedPart& part, std::int64_t first, std::int64_t rows, PackedPart& cut,
               PackedWindow& window) {
  const auto row_bytes = static_cast<std::uint64_t>(source_columns(part)) * byte_size(part.dtype);
  cut.dims[0] = rows;
  window.source_offset = static_cast<std::uint64_t>(first) * row_bytes;
  window.source_size = static_cast<std::uint64_t>(rows) * row_bytes;
}

// Units [first, first + count) of a part; offsets count from its first byte.
PackedWindow window_of(Packing packing, const PackedPart& part, const Units& units,
                       std::uint64_t first, std::uint64_t count) {
  PackedWindow window{.offset = first * units.bytes, .size = count * units.bytes};
  PackedPart cut = part;
  if (is_panels(packing) && part.transposed) {
    const std::int64_t elements = panel_elements(packing);
    const std::int64_t k = static_cast<std::int64_t>(first) * elements;
    const std::int64_t left = panel_depth(packing, part) - k;
    cut.first_k = 0;
    cut.count_k = -1;
    take_rows(part, part.first_k + k, std::min(static_cast<std::int64_t>(count) * elements, left),
              cut, window);
    window.offset = first * kPanelRowBytes;
    if (count < units.count) {
      window.pieces = units.bytes / kPanelRowBytes;
      window.stride = units.count * kPanelRowBytes;
    }
  } else if (is_panels(packing)) {
    const std::int64_t row = static_cast<std::int64_t>(first) * kPanel;
    cut.rows = std::min(static_cast<std::int64_t>(count) * kPanel, part.panel_rows() - row);
    cut.first_row = 0;
    take_rows(part, part.first_row + row, cut.rows, cut, window);
  } else {
    const Storage storage = flat_storage(packing, part.dtype);
    const std::int64_t begin = storage_elements(storage, window.offset);
    const std::int64_t end =
        std::min(begin + storage_elements(storage, window.size), part.dims.numel());
    cut.dims = {end - begin};
    window.source_offset = static_cast<std::uint64_t>(begin) * byte_size(part.dtype);
    window.source_size = static_cast<std::uint64_t>(end - begin) * byte_size(part.dtype);
  }
  window.constant = {packing, {std::move(cut)}};
  return window;
}

}  // namespace

std::vector<PackedWindow> packed_windows(const PackedConstant& constant, std::uint64_t most) {
  std::vector<PackedWindow> out;
  std::uint64_t part_begin = 0;
  for (std::size_t i = 0; i < constant.parts.size(); ++i) {
    const PackedPart& part = constant.parts[i];
    const Units units = units_of(constant.packing, part);
    const std::uint64_t step = std::max(most / std::max(units.bytes, kAlign), std::uint64_t{1});
    for (std::uint64_t first = 0; first < units.count; first += step) {
      PackedWindow window =
          window_of(constant.packing, part, units, first, std::min(step, units.count - first));
      window.offset += part_begin;
      window.part = i;
      out.push_back(std::move(window));
    }
    part_begin += units.count * units.bytes;
  }
  return out;
}

std::uint64_t source_size(const PackedPart& part) {
  return static_cast<std::uint64_t>(part.dims.numel()) * byte_size(part.dtype);
}

void pack_range(const PackedConstant& constant, std::span<const std::span<const std::byte>> sources,
                std::uint64_t offset, std::span<std::byte> out) {
  std::uint64_t part_begin = 0;
  for (std::size_t i = 0; i < constant.parts.size(); ++i) {
    const PackedPart& part = constant.parts[i];
    const std::uint64_t part_end = part_begin + part_bytes(constant.packing, part);
    const std::uint64_t from = std::max(offset, part_begin);
    const std::uint64_t to = std::min(offset + out.size(), part_end);
    if (from < to) {
      pack_part(constant.packing, part, sources[i].data(), from - part_begin,
                out.subspan(static_cast<std::size_t>(from - offset),
                            static_cast<std::size_t>(to - from)));
    }
    part_begin = part_end;
  }
}

}  // namespace etwebgpu
