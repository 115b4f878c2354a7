// Constants that the program dequantizes are so once, at load: the output of such a call becomes a
// constant that the host makes (Constant::made). Linear layers read the 8-bit elements behind it
// (ops/linear/linear.cpp), whatever else uses it reads floats.
#include <algorithm>

#include "ops/op.h"
#include "ops/quantized/affine.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

class Folding {
 public:
  Folding(Graph& graph, std::span<const std::uint8_t> written_elsewhere,
          const ConstantTest& is_zero)
      : graph_(graph),
        written_elsewhere_(written_elsewhere),
        is_zero_(is_zero),
        aliasing_(find_aliases(graph)) {
    live_.scalars.assign(graph.values.size(), 0);
    live_.changed.assign(graph.values.size(), 0);
    for (std::size_t v = 0; v < graph.values.size(); ++v) {
      const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
      live_.sizes.push_back(info ? info->bound : Dims());
    }
  }

  Result<void> run() {
    for (Call& call : graph_.calls) {
      const AffineForm* form = find_affine_form(call.name);
      if (!form || form->quantizes || !may_fold(call)) continue;
      TRY_ASSIGN(std::optional<Dequantized> made, dequantized(call, *form));
      if (!made) continue;
      std::get<TensorInfo>(graph_.value(call.args.back())).constant =
          add_constant(std::move(*made));
      call = Call{};
    }
    std::erase_if(graph_.calls, [](const Call& call) { return call.name.empty(); });
    return {};
  }

 private:
  // A constant of the file that no call writes, of the view's sizes.
  std::optional<TensorInfo> constant(ValueId view) const {
    const ValueId root = aliasing_.storage[index(view)];
    const bool elsewhere = !written_elsewhere_.empty() && written_elsewhere_[index(root)];
    const TensorInfo* info = graph_.tensor(root);
    if (!info || info->constant < 0 || elsewhere || aliasing_.mutated[index(root)])
      return std::nullopt;
    const Constant& source = graph_.constants[static_cast<std::size_t>(info->constant)];
    TensorInfo out = *info;
    out.bound = graph_.tensor(view)->bound;
    // Views are not checked yet.
    if (source.made || source.fill || out.bound.numel() != info->bound.numel()) return std::nullopt;
    return out;
  }

  bool is_live(ValueId v) const {
    const auto* list = std::get_if<ValueList>(&graph_.value(v));
    return graph_.is_symint(v) || (list && std::ranges::any_of(list->items, [&](ValueId item) {
                                     return graph_.is_symint(item);
                                   }));
  }

  bool may_fold(const Call& call) const {
    const ValueId out = call.args.back();
    const TensorInfo& info = *graph_.tensor(out);
    const std::span inputs(call.args.begin(), call.args.end() - 1);
    const auto is_known = [&](ValueId v) {
      return graph_.tensor(v) ? constant(v).has_value() : !is_live(v);
    };
    return info.constant < 0 && !aliasing_.overwritten[index(out)] &&
           std::ranges::find(graph_.inputs, out) == graph_.inputs.end() &&
           (info.dtype == DType::Float32 || info.dtype == DType::Float16) &&
           std::ranges::all_of(inputs, is_known);
  }

  // What is wrong with a call is said where it is planned.
  Result<std::optional<Dequantized>> dequantized(const Call& call, const AffineForm& form) {
    InferContext c(graph_, call, live_, aliasing_.storage, {}, true);
    if (!find_op(call.name)->infer(c)) return std::nullopt;
    TRY_ASSIGN(const Dims blocks, affine_blocks(c, form));
    Dequantized out{
        .dtype = c.dtype(c.output_arg()), .elements = *constant(c.id(0)), .blocks = blocks};
    if (!c.is_tensor(form.zero_point)) {
      out.zero_point = c.integer_or(form.zero_point, 0);
    } else {
      out.zero_points = constant(c.id(form.zero_point));
      TRY_ASSIGN(const bool none, is_zero_(out.zero_points->constant));
      if (none) out.zero_points.reset();
    }
    if (c.is_tensor(form.scale)) {
      out.scales = *constant(c.id(form.scale));
    } else {
      scale_all(out, static_cast<float>(c.number(form.scale)));
    }
    return out;
  }

  // One scale for all is one for each index of the first dimension: layers have theirs so.
  void scale_all(Dequantized& out, float scale) {
    const Dims& sizes = out.elements.bound;
    if (!sizes.empty()) out.blocks[0] = 1;
    out.scales.bound = block_counts(sizes, out.blocks);
    const auto bytes = static_cast<std::uint64_t>(out.scales.bound.numel()) * sizeof(float);
    out.scales.constant = static_cast<std::int32_t>(graph_.constants.size());
    graph_.constants.push_back({.length = bytes, .fill = scale});
  }

  std::int32_t add_constant(Dequantized made) {
    const auto bytes =
        static_cast<std::uint64_t>(made.elements.bound.numel()) * byte_size(made.dtype);
    graph_.constants.push_back({.length = bytes, .made = std::move(made)});
    return static_cast<std::int32_t>(graph_.constants.size() - 1);
  }

  Graph& graph_;
  std::span<const std::uint8_t> written_elsewhere_;
  const ConstantTest& is_zero_;
  Aliasing aliasing_;
  LiveState live_;
};

}  // namespace

Result<void> fold_dequantize(Graph& graph, std::span<const std::uint8_t> written_elsewhere,
                             const ConstantTest& is_zero) {
  return Folding(graph, written_elsewhere, is_zero).run();
}

}  // namespace etwebgpu
