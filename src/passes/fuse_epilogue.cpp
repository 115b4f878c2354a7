// Fuses what follows a linear layer or a convolution into it, where nothing else reads the product:
//
//   a sum            y = x W + r            the residual
//   an activation    y = f(x W + r)         a unary operator on floats
//
// in place of the last call that is covered, by which time the residual is there. Before that,
// x * sigmoid(x), as decompositions write silu, becomes one call.
#include <algorithm>
#include <optional>
#include <utility>

#include "ops/elementwise/activation.h"
#include "ops/fused.h"
#include "passes/epilogue.h"
#include "passes/lasting.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

// Arguments of aten.linear.
enum { kX, kWeight, kBias };

class EpilogueFusion {
 public:
  EpilogueFusion(Graph& graph, std::span<const std::uint8_t> written_elsewhere)
      : graph_(graph), lasting_(graph, written_elsewhere) {}

  void run() {
    rewrite_calls(graph_, [this](const GraphIndex& i, std::int32_t c) { join_silu(i, c); });
    rewrite_calls(graph_, [this](const GraphIndex& i, std::int32_t c) { fuse_residual(i, c); });
    rewrite_calls(graph_, [this](const GraphIndex& i, std::int32_t c) { fuse_activation(i, c); });
  }

 private:
  Call& call(std::int32_t c) { return graph_.calls[static_cast<std::size_t>(c)]; }
  ValueId none() { return graph_.add(std::monostate{}); }

  // --- Values ---

  bool is_floats(ValueId v) const {
    const TensorInfo* info = graph_.tensor(v);
    return info && is_floating(info->dtype);
  }
  // As recorded: the kernels go element by element.
  bool are_alike(ValueId a, ValueId b) const {
    return is_floats(a) && is_floats(b) && graph_.tensor(a)->bound == graph_.tensor(b)->bound;
  }

  // --- x * sigmoid(x) ---

  void join_silu(const GraphIndex& index, std::int32_t c) {
    const Call& product = index.call(c);
    if (product.name != "aten.mul.Tensor" || product.args.size() != 3) return;
    const ValueId a = product.args[0], b = product.args[1], out = product.args[2];
    for (const auto& [x, gate] : {std::pair(a, b), std::pair(b, a)}) {
      const std::int32_t sigmoid = index.producer(gate);
      if (sigmoid == kNoCall || index.call(sigmoid).name != "aten.sigmoid.default") continue;
      const ValueId source = index.call(sigmoid).args.front();
      if (index.behind_views(source) != index.behind_views(x) || !are_alike(source, x)) continue;
      if (!are_alike(x, out) || lasting_.is_overwritten(x) || !index.only_read_by(gate, c))
        continue;
      Call joined{
          .name = std::string(times_sigmoid::kName), .args = {x, out}, .node_id = product.node_id};
      cover(joined, index.call(sigmoid));
      cover(joined, product);
      call(c) = std::move(joined);
      return;
    }
  }

  // --- Products ---

  static const FusedProduct* row_of(std::string_view product) {
    const auto* const row = std::ranges::find(kFusedProducts, product, &FusedProduct::product);
    return row == std::end(kFusedProducts) ? nullptr : row;
  }
  static bool is_fused_name(std::string_view name) {
    return name == fused_linear::kName ||
           std::ranges::find(kFusedProducts, name, &FusedProduct::fused) !=
               std::end(kFusedProducts);
  }
  static bool is_convolution(const Call& product) {
    return product.name.find("conv") != std::string::npos;
  }

  // The value that the product is, if it is one.
  ValueId output_of(const Call& product) const {
    const auto* list = std::get_if<ValueList>(&graph_.value(product.args.back()));
    if (!list) return product.args.back();
    return list->items.size() == 1 ? list->items[0] : kNoValue;
  }

  // A product whose epilogue has room for an activation, and with `plain` for all of one.
  bool is_open(const Call& product, bool plain) const {
    if (product.name == linear_q4gsw::kName) return true;
    if (const FusedProduct* row = row_of(product.name)) {
      for (std::size_t a = row->inputs; a + 1 < product.args.size(); ++a)
        if (!graph_.is_none(product.args[a])) return false;  // bounds
      return row->fused != "fused.linear" || has_constants(product);
    }
    if (plain || !is_fused_name(product.name)) return false;
    const auto from_end = [&](std::size_t n) { return product.args[product.args.size() - n]; };
    if (!graph_.is_none(from_end(epilogue::kActivation))) return false;
    return product.name != fused_linear::kName ||
           !std::get<bool>(graph_.value(product.args[fused_linear::kGated]));
  }
  // As the kernels of packed weights take them.
  bool has_constants(const Call& linear) const {
    const ValueId weight = linear.args[kWeight], bias = linear.args[kBias];
    if (!lasting_.is_fixed(weight) || graph_.tensor(weight)->bound.numel() == 0) return false;
    if (graph_.is_none(bias)) return true;
    const Dims& sizes = graph_.tensor(bias)->bound;
    return lasting_.is_fixed(bias) && sizes.rank() == 1 &&
           sizes[0] == graph_.tensor(weight)->bound[0];
  }

  // The product that `v` is, if call c may take it in and give `out` instead: nothing else reads
  // it, and it may move there.
  std::optional<std::int32_t> product_for(const GraphIndex& index, ValueId v, std::int32_t c,
                                          ValueId out, bool is_sum) const {
    const std::int32_t p = index.producer(index.behind_views(v));
    if (p == kNoCall || !is_open(index.call(p), is_sum)) return std::nullopt;
    const Call& product = index.call(p);
    const ValueId result = output_of(product);
    if (result == kNoValue || !are_alike(v, out) || !index.only_read_by(result, c))
      return std::nullopt;
    const std::span<const ValueId> inputs(product.args.data(), product.args.size() - 1);
    if (std::ranges::any_of(inputs, [this](ValueId a) { return lasting_.is_overwritten(a); }))
      return std::nullopt;
    const bool fits = are_alike(result, out) || sizes_follow(product, result, out, is_sum);
    return fits ? std::optional(p) : std::nullopt;
  }
  // Behind views: a linear layer's output gets its sizes from x, or from what is added.
  bool sizes_follow(const Call& product, ValueId result, ValueId out, bool is_sum) const {
    if (is_convolution(product)) return false;
    const Dims &from = graph_.tensor(result)->bound, &to = graph_.tensor(out)->bound;
    const bool same_rows = !from.empty() && !to.empty() && from.back() == to.back();
    const bool from_residual = is_sum && product.name == "aten.linear.default" && same_rows;
    return from_residual || follows_input(graph_, product, out);
  }

  // The product as a fused call with that output.
  Call as_fused(const GraphIndex& index, std::int32_t p, ValueId out) {
    const Call& product = index.call(p);
    if (product.name == linear_q4gsw::kName)
      return fused_group_linear(graph_, index, {&p, 1}, false, {out});
    const FusedProduct* row = row_of(product.name);
    Call fused = product;
    if (!row) {
      const bool is_list = std::holds_alternative<ValueList>(graph_.value(product.args.back()));
      fused.args.back() = is_list ? graph_.add(ValueList{{out}}) : out;
      return fused;
    }
    fused.name = row->fused;
    fused.covers.clear();
    cover(fused, product);
    fused.args.resize(row->inputs, none());
    fused.args.insert(fused.args.end(), epilogue::kCount - 1, none());
    fused.args.push_back(out);
    return fused;
  }

  static ValueId& from_end(Call& fused, std::size_t n) { return fused.args[fused.args.size() - n]; }

  // --- Rewrites ---

  // add(residual, product).
  void fuse_residual(const GraphIndex& index, std::int32_t c) {
    const Call& sum = index.call(c);
    if (sum.name != "aten.add.Tensor" || sum.args.size() != 4) return;
    if (!graph_.is_int(sum.args[2], 1)) return;
    const ValueId a = sum.args[0], b = sum.args[1], out = sum.args[3];
    for (const auto& [residual, v] : {std::pair(a, b), std::pair(b, a)}) {
      if (!are_alike(residual, out)) continue;
      const std::optional<std::int32_t> p = product_for(index, v, c, out, true);
      if (!p || index.producer(index.behind_views(residual)) == *p) continue;
      Call fused = as_fused(index, *p, out);
      from_end(fused, epilogue::kResidual) = residual;
      cover(fused, sum);
      call(c) = std::move(fused);
      return;
    }
  }

  // f(product).
  void fuse_activation(const GraphIndex& index, std::int32_t c) {
    const Call& function = index.call(c);
    const std::size_t count = function.args.size();
    if (count < 2 || count > 4) return;
    const ValueId first = count > 2 ? function.args[1] : kNoValue;
    const ValueId second = count > 3 ? function.args[2] : kNoValue;
    if (!find_activation(graph_, function.name, first, second)) return;
    const ValueId out = function.args.back();
    const std::optional<std::int32_t> p = product_for(index, function.args[0], c, out, false);
    if (!p) return;
    Call fused = as_fused(index, *p, out);
    from_end(fused, epilogue::kActivation) = graph_.add(function.name);
    from_end(fused, epilogue::kFirst) = first == kNoValue ? none() : first;
    from_end(fused, epilogue::kSecond) = second == kNoValue ? none() : second;
    cover(fused, function);
    call(c) = std::move(fused);
  }

  Graph& graph_;
  const Lasting lasting_;
};

}  // namespace

Call fused_group_linear(Graph& graph, const GraphIndex& index,
                        std::span<const std::int32_t> linears, bool gated,
                        std::vector<ValueId> outs) {
  namespace plain = linear_q4gsw;
  std::vector<ValueId> weights, scales, biases;
  bool any_bias = false;
  for (std::int32_t c : linears) {
    const Call& linear = index.call(c);
    weights.push_back(linear.args[plain::kWeight]);
    scales.push_back(linear.args[plain::kScales]);
    biases.push_back(linear.args[plain::kBias]);
    any_bias |= !graph.is_none(linear.args[plain::kBias]);
  }
  const auto list = [&](std::vector<ValueId> items) {
    return graph.add(ValueList{std::move(items)});
  };
  const auto none = [&] { return graph.add(std::monostate{}); };
  const Call& first = index.call(linears.front());
  Call out;
  out.name = fused_linear::kName;
  out.node_id = first.node_id;
  for (std::int32_t c : linears) cover(out, index.call(c));
  out.args = {first.args[plain::kX],
              list(std::move(weights)),
              list(std::move(scales)),
              first.args[plain::kGroup],
              any_bias ? list(std::move(biases)) : none(),
              none(),
              graph.add(0.0),
              graph.add(gated),
              graph.add(false),
              none(),
              none(),
              none(),
              none(),
              list(std::move(outs))};
  return out;
}

bool follows_input(const Graph& graph, const Call& linear, ValueId out) {
  const Dims &x = graph.tensor(linear.args[0])->bound, &y = graph.tensor(out)->bound;
  return !x.empty() && x.rank() == y.rank() && std::equal(x.begin(), x.end() - 1, y.begin());
}

void fuse_epilogues(Graph& graph, std::span<const std::uint8_t> written_elsewhere) {
  EpilogueFusion(graph, written_elsewhere).run();
}

}  // namespace etwebgpu
