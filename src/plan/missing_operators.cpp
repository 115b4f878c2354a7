#include "plan/missing_operators.h"

#include <algorithm>
#include <span>

#include "base/text.h"
#include "ops/op.h"

namespace etwebgpu {
namespace {

constexpr std::size_t kMostPlaces = 4;

std::string places(std::span<const std::size_t> calls) {
  std::string out = calls.size() == 1 ? " (call " : " (calls ";
  for (std::size_t i = 0; i < std::min(calls.size(), kMostPlaces); ++i)
    out += cat(i == 0 ? "" : ", ", calls[i]);
  if (calls.size() > kMostPlaces) out += cat(" and ", calls.size() - kMostPlaces, " more");
  return out + ")";
}

// The exporter makes these of what a module computes, whether or not that is in operator_blocklist.
bool is_made_by_exporter(std::string_view name) { return name.starts_with("et_vk."); }

std::string joined(const std::vector<MissingOperator>& missing, bool made_by_exporter) {
  std::string out;
  for (const MissingOperator& one : missing) {
    if (is_made_by_exporter(one.name) == made_by_exporter)
      out += cat(out.empty() ? "" : ", ", one.name);
  }
  return out;
}

}  // namespace

std::vector<MissingOperator> missing_operators(const Graph& graph) {
  std::vector<MissingOperator> out;
  for (std::size_t c = 0; c < graph.calls.size(); ++c) {
    const std::string_view name = graph.calls[c].name;
    const auto known = std::ranges::find(out, name, &MissingOperator::name);
    if (known != out.end()) {
      known->calls.push_back(c);
    } else if (find_op(name) == nullptr) {
      out.push_back({name, {c}});
    }
  }
  return out;
}

std::string describe(const std::vector<MissingOperator>& missing) {
  std::string out = "operators that are not supported: ";
  for (const MissingOperator& one : missing)
    out += cat(&one == missing.data() ? "" : ", ", one.name, places(one.calls));
  out += "; export it again with ";
  const std::string operators = joined(missing, false), modules = joined(missing, true);
  if (!operators.empty()) out += cat(operators, " in the partitioner's operator_blocklist");
  if (!operators.empty() && !modules.empty()) out += " and ";
  if (!modules.empty())
    out += cat("the modules that compute ", modules, " in the partitioner's nn_module_blocklist");
  return out + ", which leaves them to ExecuTorch";
}

}  // namespace etwebgpu
