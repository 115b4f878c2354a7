// Data segments and the keys that name them: shared by programs (.pte) and tensor data files
// (.ptd).
#pragma once

#include <map>
#include <string>

#include "base/checked.h"
#include "format/bytes.h"

namespace etwebgpu::format {

struct SegmentSection {
  Bytes file;
  std::uint64_t base = 0;  // where segment offsets count from
};

// Bytes of a segment, or an error that names it.
template <typename Segments>
Result<Bytes> segment(const SegmentSection& section, const Segments* segments, std::size_t index,
                      std::string_view user) {
  CHECK_OR_FAIL(index < size_of(segments), ErrorKind::InvalidProgram, user, " refers to segment ",
                index, ", but the file has ", size_of(segments), " segments");
  CHECK_OR_FAIL(section.base > 0, ErrorKind::InvalidProgram, user, " refers to segment ", index,
                ", but the file's header gives no place for segments");
  const auto& entry = *segments->Get(static_cast<std::uint32_t>(index));
  CHECK_OR_FAIL(section.base <= section.file.size() &&
                    range_fits(entry.offset(), entry.size(), section.file.size() - section.base),
                ErrorKind::InvalidProgram, user, ": segment ", index, " at offset ", entry.offset(),
                " with ", entry.size(), " bytes does not fit behind offset ", section.base,
                " of the file of ", section.file.size(), " bytes (is the file truncated?)");
  return section.file.subspan(static_cast<std::size_t>(section.base + entry.offset()),
                              static_cast<std::size_t>(entry.size()));
}

// Every segment by key. A key that appears twice must name the same segment.
template <typename Segments, typename Entries>
Result<std::map<std::string, Bytes, std::less<>>> named_segments(const SegmentSection& section,
                                                                 const Segments* segments,
                                                                 const Entries* entries,
                                                                 CopyBudget& budget) {
  std::map<std::string, Bytes, std::less<>> out;
  for (std::size_t i = 0; i < size_of(entries); ++i) {
    const auto& entry = *entries->Get(static_cast<std::uint32_t>(i));
    const std::string_view key = view(entry.key());
    CHECK_OR_FAIL(!key.empty(), ErrorKind::InvalidProgram, "named data ", i, " has no key");
    CHECK_OR_FAIL(budget.spend(key.size(), 1), ErrorKind::InvalidProgram, "named data ", i,
                  ": keys repeat implausibly");
    TRY_ASSIGN(const Bytes bytes,
               segment(section, segments, entry.segment_index(), cat("named data ", quoted(key))));
    const auto [place, added] = out.try_emplace(std::string(key), bytes);
    CHECK_OR_FAIL(
        added || (place->second.data() == bytes.data() && place->second.size() == bytes.size()),
        ErrorKind::InvalidProgram, "named data ", quoted(key), " appears twice");
  }
  return out;
}

}  // namespace etwebgpu::format
