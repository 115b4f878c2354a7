// Makes one call of a depthwise convolution and the pointwise one that alone reads it, with what
// both have taken in: fuse_epilogue.cpp comes before. Whether its results are then computed where
// the second reads them, or before, is decided for a device (ops/images/convolution.cpp).
#include <algorithm>
#include <optional>
#include <string>

#include "ops/elementwise/activation.h"
#include "ops/fused.h"
#include "passes/graph_index.h"
#include "passes/lasting.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

namespace fused_args = depthwise_pointwise;

using namespace convolution;

constexpr std::string_view kNames[] = {kName, kClampedName, kFusedName};

class DepthwiseFusion {
 public:
  DepthwiseFusion(Graph& graph, std::span<const std::uint8_t> written_elsewhere)
      : graph_(graph), lasting_(graph, written_elsewhere) {}

  void run() {
    rewrite_calls(graph_, [this](const GraphIndex& i, std::int32_t c) { fuse(i, c); });
  }

 private:
  // What a convolution does to its results.
  struct Function {
    ValueId name = kNoValue, first = kNoValue, second = kNoValue;
  };
  struct After {
    ValueId residual = kNoValue;
    Function function = {};
    std::optional<Activation> activation = {};
  };

  void fuse(const GraphIndex& index, std::int32_t c) {
    const Call& second = index.call(c);
    if (!is_pointwise(second)) return;
    const ValueId between = second.args[kX];
    const std::int32_t d = index.producer(between);
    if (d == kNoCall || !is_depthwise(index.call(d))) return;
    if (lasting_.is_overwritten(between) || !index.only_read_by(between, c)) return;
    const Call& first = index.call(d);
    const std::optional<After> after_first = after(first), after_second = after(second);
    if (!after_first || !after_second || after_first->residual != kNoValue) return;
    const ValueId added = after_second->residual;
    if (added != kNoValue && index.behind_views(added) == between) return;
    const auto &a = after_first->activation, &b = after_second->activation;
    if (a && b && !share_library(*a, *b)) return;
    Call fused = joined(first, *after_first, second, *after_second);
    graph_.calls[static_cast<std::size_t>(c)] = std::move(fused);
  }

  Call joined(const Call& first, const After& after_first, const Call& second,
              const After& after_second) {
    Call fused{.name = std::string(fused_args::kName),
               .args = {first.args.begin(), first.args.begin() + fused_args::kFunction},
               .node_id = second.node_id};
    put(fused, after_first.function);
    fused.args.insert(fused.args.end(), {second.args[kWeight], second.args[kBias]});
    fused.args.push_back(or_none(after_second.residual));
    put(fused, after_second.function);
    fused.args.push_back(second.args.back());
    cover(fused, first);
    cover(fused, second);
    return fused;
  }
  ValueId or_none(ValueId v) { return v == kNoValue ? graph_.add(std::monostate{}) : v; }
  void put(Call& fused, const Function& function) {
    for (const ValueId v : {function.name, function.first, function.second})
      fused.args.push_back(or_none(v));
  }

  // Null if that is no activation.
  std::optional<After> after(const Call& call) {
    After out;
    if (call.name == kFusedName) {
      const auto from_end = [&](std::size_t n) {
        const ValueId v = call.args[call.args.size() - n];
        return graph_.is_none(v) ? kNoValue : v;
      };
      out.residual = from_end(epilogue::kResidual);
      out.function = {from_end(epilogue::kActivation), from_end(epilogue::kFirst),
                      from_end(epilogue::kSecond)};
    } else if (call.name == kClampedName) {
      const auto bound = [&](std::size_t at) {
        return at + 1 < call.args.size() && !graph_.is_none(call.args[at]) ? call.args[at]
                                                                           : kNoValue;
      };
      out.function = {kNoValue, bound(kLowest), bound(kHighest)};
      if (out.function.first != kNoValue || out.function.second != kNoValue)
        out.function.name = graph_.add(std::string("aten.clamp.default"));
    }
    if (out.function.name == kNoValue) return out;
    const auto& name = std::get<std::string>(graph_.value(out.function.name));
    out.activation = find_activation(graph_, name, out.function.first, out.function.second);
    return out.activation ? std::optional(out) : std::nullopt;
  }

  // --- Forms ---

  // A convolution of whole vectors of channels, of floats, with constants that stay, and not
  // transposed.
  bool has_plain_form(const Call& call) const {
    if (std::ranges::find(kNames, call.name) == std::end(kNames)) return false;
    const TensorInfo &x = *graph_.tensor(call.args[kX]),
                     &weight = *graph_.tensor(call.args[kWeight]);
    const Dims &sizes = x.bound, &kernel = weight.bound;
    const auto* transposed = std::get_if<bool>(&graph_.value(call.args[kTransposed]));
    return is_floating(x.dtype) && is_floating(weight.dtype) && transposed && !*transposed &&
           (sizes.rank() == 3 || sizes.rank() == 4) && kernel.rank() == sizes.rank() &&
           sizes[1] % 4 == 0 && kernel.numel() > 0 && lasting_.is_fixed(call.args[kWeight]) &&
           has_plain_bias(call.args[kBias], kernel[0]);
  }
  bool has_plain_bias(ValueId bias, std::int64_t outputs) const {
    if (graph_.is_none(bias)) return true;
    const TensorInfo& info = *graph_.tensor(bias);
    return is_floating(info.dtype) && info.bound == Dims{outputs} && lasting_.is_fixed(bias);
  }

  bool is_pointwise(const Call& call) const {
    if (!has_plain_form(call) || !graph_.is_int(call.args[kGroups], 1)) return false;
    const Dims& kernel = graph_.tensor(call.args[kWeight])->bound;
    return kernel[1] == graph_.tensor(call.args[kX])->bound[1] &&
           kernel.numel() == kernel[0] * kernel[1] && all_are(call, kStride, 1) &&
           all_are(call, kPadding, 0) && all_are(call, kDilation, 1);
  }
  // Its results have the recorded channels, for which the other's weight is. That one has it read
  // its input later.
  bool is_depthwise(const Call& call) const {
    if (!has_plain_form(call)) return false;
    const Dims &kernel = graph_.tensor(call.args[kWeight])->bound,
               &results = graph_.tensor(call.args.back())->bound;
    const std::int64_t channels = graph_.tensor(call.args[kX])->bound[1];
    return kernel[0] == channels && kernel[1] == 1 && graph_.is_int(call.args[kGroups], channels) &&
           results.rank() == kernel.rank() && results[1] == channels &&
           !lasting_.is_overwritten(call.args[kX]);
  }
  // A list for all dimensions of x but two, or one item for all.
  bool all_are(const Call& call, std::size_t arg, std::int64_t wanted) const {
    const auto* list = std::get_if<IntList>(&graph_.value(call.args[arg]));
    if (!list) return false;
    const std::size_t count = list->items.size(),
                      dims = graph_.tensor(call.args[kX])->bound.rank() - 2;
    return (count == 1 || count == dims) &&
           std::ranges::all_of(list->items, [&](auto item) { return item == wanted; });
  }

  Graph& graph_;
  const Lasting lasting_;
};

}  // namespace

void fuse_depthwise(Graph& graph, std::span<const std::uint8_t> written_elsewhere) {
  DepthwiseFusion(graph, written_elsewhere).run();
}

}  // namespace etwebgpu
