// Data segments and the keys that name them: shared by programs (.pte) and tensor data files
// (.ptd).
#pragma once

#include <map>
#include <string>

#include "base/checked.h"
#include "format/bytes.h"
#include "format/file.h"

namespace etwebgpu::format {

struct SegmentSection {
  std::uint64_t file_size = 0;
  std::uint64_t base = 0;  // where segment offsets count from
};

// Where a segment is, or an error that names it.
template <typename Segments>
Result<FilePart> segment(const SegmentSection& section, const Segments* segments, std::size_t index,
                         std::string_view user) {
  CHECK_OR_FAIL(index < size_of(segments), ErrorKind::InvalidProgram, user, " refers to segment ",
                index, ", but the file has ", size_of(segments), " segments");
  CHECK_OR_FAIL(section.base > 0, ErrorKind::InvalidProgram, user, " refers to segment ", index,
                ", but the file's header gives no place for segments");
  const auto& entry = *segments->Get(static_cast<std::uint32_t>(index));
  CHECK_OR_FAIL(section.base <= section.file_size &&
                    range_fits(entry.offset(), entry.size(), section.file_size - section.base),
                ErrorKind::InvalidProgram, user, ": segment ", index, " at offset ", entry.offset(),
                " with ", entry.size(), " bytes does not fit behind offset ", section.base,
                " of the file of ", section.file_size, " bytes (is the file truncated?)");
  return FilePart{section.base + entry.offset(), entry.size()};
}

// Every segment by key. A key that appears twice must name the same segment.
template <typename Segments, typename Entries>
Result<std::map<std::string, FilePart, std::less<>>> named_segments(const SegmentSection& section,
                                                                    const Segments* segments,
                                                                    const Entries* entries,
                                                                    CopyBudget& budget) {
  std::map<std::string, FilePart, std::less<>> out;
  for (std::size_t i = 0; i < size_of(entries); ++i) {
    const auto& entry = *entries->Get(static_cast<std::uint32_t>(i));
    const std::string_view key = view(entry.key());
    CHECK_OR_FAIL(!key.empty(), ErrorKind::InvalidProgram, "named data ", i, " has no key");
    CHECK_OR_FAIL(budget.spend(key.size(), 1), ErrorKind::InvalidProgram, "named data ", i,
                  ": keys repeat implausibly");
    TRY_ASSIGN(const FilePart part,
               segment(section, segments, entry.segment_index(), cat("named data ", quoted(key))));
    const auto [place, added] = out.try_emplace(std::string(key), part);
    CHECK_OR_FAIL(added || place->second == part, ErrorKind::InvalidProgram, "named data ",
                  quoted(key), " appears twice");
  }
  return out;
}

}  // namespace etwebgpu::format
