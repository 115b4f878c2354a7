#include "plan/state_pairs.h"

#include <algorithm>

namespace etwebgpu {
namespace {

using Positions = std::vector<std::size_t>;

bool is_alike(const StateUse& a, const StateUse& b) {
  return a.contents == b.contents && a.dtype == b.dtype && a.dims == b.dims;
}

// Positions of the unnamed uses like `of`.
Positions alike(std::span<const StateUse> uses, const StateUse& of) {
  Positions out;
  for (std::size_t i = 0; i < uses.size(); ++i)
    if (uses[i].name.empty() && is_alike(uses[i], of)) out.push_back(i);
  return out;
}

Positions written_of(std::span<const StateUse> uses, const Positions& positions) {
  Positions out;
  std::ranges::copy_if(positions, std::back_inserter(out),
                       [&](std::size_t i) { return uses[i].written; });
  return out;
}

std::string describe(const StateUse& use) { return cat(name(use.dtype), " ", to_string(use.dims)); }

// Pairs the unnamed uses like the one at `first`, its group's first in `mine`.
Result<void> pair_group(std::span<const StateUse> mine, std::span<const StateUse> theirs,
                        std::size_t first, StatePairs& pairs) {
  const StateUse& of = mine[first];
  Positions a = alike(mine, of), b = alike(theirs, of);
  const Positions a_written = written_of(mine, a), b_written = written_of(theirs, b);
  if (b.empty() || (a_written.empty() && b_written.empty())) return {};
  if (a.size() != b.size()) {
    // Numbers in the program's text are constants of one element.
    const bool are_numbers = of.dims.numel() == 1;
    if (are_numbers && (a_written.empty() || b_written.empty())) return {};
    CHECK_OR_FAIL(are_numbers && a_written.size() == b_written.size(), ErrorKind::NotSupported,
                  "it has ", a.size(), " buffers ", describe(of), " and the other ", b.size(),
                  " with the same first contents, of which it writes ", a_written.size(),
                  " and the other ", b_written.size(), ": which of them are one cannot be told");
    a = a_written;
    b = b_written;
  }
  for (std::size_t i = 0; i < a.size(); ++i)
    if (mine[a[i]].written || theirs[b[i]].written) pairs.emplace_back(a[i], b[i]);
  return {};
}

}  // namespace

std::vector<StateUse> state_uses(const Graph& graph,
                                 const std::map<std::int32_t, std::string>& names) {
  const std::vector<std::uint8_t> written = find_aliases(graph).mutated;
  std::vector<StateUse> uses;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    const auto id = static_cast<ValueId>(v);
    const TensorInfo* info = graph.tensor(id);
    if (!info || info->constant < 0) continue;
    const std::string& key = graph.constants[static_cast<std::size_t>(info->constant)].key;
    if (key.empty()) continue;
    const auto name = names.find(info->file_constant);
    uses.push_back({id, key, name == names.end() ? std::string() : name->second, info->dtype,
                    info->bound, written[v] != 0});
  }
  return uses;
}

Result<StatePairs> pair_states(std::span<const StateUse> mine, std::span<const StateUse> theirs) {
  StatePairs pairs;
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (mine[i].name.empty()) {
      if (alike(mine, mine[i]).front() == i) TRY(pair_group(mine, theirs, i, pairs));
      continue;
    }
    // One delegate of a method may read a buffer that another writes: either of the two may be met
    // first.
    const auto same = std::ranges::find_if(theirs, [&](const StateUse& use) {
      return use.name == mine[i].name && use.contents == mine[i].contents &&
             (mine[i].written || use.written);
    });
    if (same == theirs.end()) continue;
    CHECK_OR_FAIL(same->dtype == mine[i].dtype && same->dims == mine[i].dims,
                  ErrorKind::InvalidProgram, "the buffer '", mine[i].name, "' is ",
                  describe(mine[i]), " here and ", describe(*same), " there");
    pairs.emplace_back(i, static_cast<std::size_t>(same - theirs.begin()));
  }
  return pairs;
}

Result<StatePairs> pair_within_method(std::span<const StateUse> earlier,
                                      std::span<const StateUse> later) {
  StatePairs pairs;
  for (std::size_t i = 0; i < later.size(); ++i) {
    for (std::size_t j = 0; j < earlier.size(); ++j) {
      const StateUse &a = earlier[j], &b = later[i];
      const bool named = !a.name.empty() || !b.name.empty();
      const bool same = is_alike(a, b) && (named ? a.name == b.name : a.dims.numel() > 1);
      if (!same || a.written == b.written) continue;
      CHECK_OR_FAIL(
          b.written, ErrorKind::NotSupported, "an earlier delegate of the method writes ",
          "a buffer ", describe(b),
          " which is read here as it was before the call; read it after the write, or have "
          "only operators between the two that the partitioner takes, so that one "
          "delegate does both");
      const bool taken = std::ranges::any_of(
          pairs, [&](const auto& pair) { return pair.first == i || pair.second == j; });
      CHECK_OR_FAIL(
          !taken, ErrorKind::NotSupported, "which of several buffers ", describe(b),
          " an earlier delegate of the method reads cannot be told; export the method through "
          "executorch_webgpu.lowering, which names them");
      pairs.emplace_back(i, j);
    }
  }
  return pairs;
}

}  // namespace etwebgpu
