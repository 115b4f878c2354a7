#include "support/plan_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include "kernels/kernel_source.h"
#include "support/compile.h"

namespace etwebgpu::testing {
namespace {

using Lines = std::vector<std::string>;

// "et_vk.linear_q4gsw.default" is "linear_q4gsw".
std::string short_name(std::string_view call) {
  const auto end = call.rfind('.');
  call = call.substr(0, end);
  return std::string(call.substr(call.find('.') + 1));
}

// Names in the order of their first, with how many there are: "rms_norm, 3 linear_q4gsw".
std::string counted(const Lines& names) {
  std::vector<std::pair<std::string, int>> counts;
  for (const std::string& name : names) {
    const auto at = std::ranges::find(counts, name, &decltype(counts)::value_type::first);
    if (at == counts.end()) {
      counts.emplace_back(name, 1);
    } else {
      ++at->second;
    }
  }
  std::string out;
  for (const auto& [name, count] : counts)
    out += cat(out.empty() ? "" : ", ", count > 1 ? cat(count, " ") : "", name);
  return out;
}

// The program's calls that this one stands for.
std::string origins_text(const Call& call) {
  if (call.covers.empty()) return short_name(call.name);
  Lines names;
  for (const CallOrigin& origin : call.covers) names.push_back(short_name(origin.name));
  return counted(names);
}

std::string binding_text(const PlannedBinding& binding) {
  const std::string at = binding.offset > 0 ? cat(" at ", binding.offset) : "";
  switch (binding.space) {
    case Space::Slot:
      return cat("slot ", binding.index, at, " (", binding.size, ")");
    case Space::Constant:
      return cat("constant", at, " (", binding.size, ")");
    case Space::State:
      return cat("state", at, " (", binding.size, ")");
    case Space::Uniforms:
      return cat("params (", binding.size, ")");
    case Space::Scalars:
      return cat("scalar ", binding.index);
  }
  return {};
}

std::string bindings_text(const Plan& plan, const PlannedDispatch& dispatch) {
  std::string reads, writes;
  for (std::uint32_t i = 0; i < dispatch.binding_count; ++i) {
    const PlannedBinding& binding = plan.bindings[dispatch.first_binding + i];
    std::string& list = binding.access == Access::ReadWrite ? writes : reads;
    list += cat(list.empty() ? "" : ", ", binding_text(binding));
  }
  return cat(reads, " -> ", writes);
}

// Numbers kernels in the order of their first dispatch.
class KernelNumbers {
 public:
  std::string label(const Model& model, std::uint32_t kernel) {
    const KernelVariant& variant = model.kernels()[kernel];
    const auto [at, is_new] = numbers_.emplace(kernel, ++counts_[variant.name]);
    if (!is_new) --counts_[variant.name];
    const std::string label = cat(variant.name, "#", at->second);
    if (is_new) listed_.push_back(cat(label, parameters(variant)));
    return label;
  }
  const Lines& listed() const { return listed_; }

 private:
  static std::string parameters(const KernelVariant& variant) {
    std::string out;
    for (const auto& [name, value] : variant.parameters) out += cat(" ", name, "=", value);
    return out;
  }

  std::map<std::uint32_t, int> numbers_;
  std::map<std::string, int> counts_;
  Lines listed_;
};

std::string grid_text(const Grid& grid) {
  std::string out = cat(grid.x, "x", grid.y, "x", grid.z);
  if (grid.live != kNoValue)
    out += cat(" (y: scalar ", grid.live, " + ", grid.add, " by ", grid.divide, ")");
  return out;
}

// The longest run of equal blocks of lines that begins at `first`: lines of a block, and how often.
std::pair<std::size_t, std::size_t> repeats(const Lines& lines, std::size_t first) {
  constexpr std::size_t kLongest = 64;
  std::pair<std::size_t, std::size_t> best = {1, 1};
  for (std::size_t length = 1; length <= kLongest && first + 2 * length <= lines.size(); ++length) {
    const auto block = lines.begin() + static_cast<std::ptrdiff_t>(first);
    std::size_t times = 1;
    while (first + (times + 1) * length <= lines.size() &&
           std::equal(block, block + static_cast<std::ptrdiff_t>(length),
                      block + static_cast<std::ptrdiff_t>(times * length)))
      ++times;
    if (times > 1 && times * length > best.first * best.second) best = {length, times};
  }
  return best;
}

std::string folded(const Lines& lines) {
  std::string out;
  for (std::size_t i = 0; i < lines.size();) {
    const auto [length, times] = repeats(lines, i);
    if (times > 1) out += cat(times, " times:\n");
    for (std::size_t l = 0; l < length; ++l) out += cat(times > 1 ? "  " : "", lines[i + l], "\n");
    i += length * times;
  }
  return out;
}

std::string tensors_text(std::span<const PlannedTensor> tensors) {
  std::string out;
  for (const PlannedTensor& t : tensors)
    out += cat(out.empty() ? "" : ", ", name(t.storage), to_string(t.sizes));
  return out;
}

}  // namespace

std::string plan_text(const Model& model, const Plan& plan) {
  KernelNumbers kernels;
  Lines lines;
  for (const PlannedDispatch& dispatch : plan.dispatches) {
    const Call& call = model.graph().calls[dispatch.call];
    lines.push_back(cat(kernels.label(model, dispatch.kernel), " ", grid_text(dispatch.grid), " | ",
                        origins_text(call), " | ", bindings_text(plan, dispatch)));
  }
  std::string out = cat("inputs ", tensors_text(plan.inputs), "\noutputs ",
                        tensors_text(plan.outputs), "\nslots");
  for (const std::uint64_t bytes : plan.slots) out += cat(" ", bytes);
  out += cat("\ndispatches ", lines.size(), "\n", folded(lines), "kernels\n");
  for (const std::string& kernel : kernels.listed()) out += kernel + "\n";
  return out;
}

std::string plan_text(Graph graph, const Capabilities& capabilities, const ModelOptions& options,
                      std::span<const HostInput> inputs) {
  const auto model = compile(std::move(graph), capabilities, options);
  const Plan* plan = model ? plan_at(*model, inputs) : nullptr;
  if (!plan) return {};
  for (const KernelVariant& kernel : model->kernels()) {
    const auto text = kernel_source(kernel, capabilities.dialect);
    EXPECT_TRUE(text) << text.error().message;
  }
  return plan_text(*model, *plan);
}

std::string program_text(const Graph& graph) {
  Lines names;
  for (const Call& call : graph.calls) names.push_back(short_name(call.name));
  return counted(names);
}

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = cat(ETWEBGPU_GOLDEN_FOLDER, "/", name, ".txt");
  if (std::getenv("ETWEBGPU_UPDATE_GOLDEN")) {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(golden, text) << "the plan is not that of " << path
                          << "; if it should not be, set ETWEBGPU_UPDATE_GOLDEN=1";
}

}  // namespace etwebgpu::testing
