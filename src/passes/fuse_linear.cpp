// Fuses what surrounds 4-bit linear layers into them, so that a decoder layer is a handful of
// dispatches:
//
//   gate, up, silu and mul     y = silu(x Wg) * (x Wu)           one gated linear; swiglu the same
//   a sum, an activation       y = relu(x W + r)                 fuse_epilogue.cpp
//   siblings on one input      q, k, v = x Wq, x Wk, x Wv        stacked weights, one output each
//   an rms norm before         y = rms_norm(x) W                 a prologue
//   the last token before      y = x[:, -1] W                    another place to read
//   layers only it needs       h = x + f(x), y = h[:, -1] W      their last row alone
//
// Each rewrite makes or changes a "fused.linear_q4gsw" call (ops/quantized_linear.cpp) in place of
// the last call it covers; what nothing reads any more is left to remove_dead_calls.
#include <algorithm>
#include <optional>

#include "ops/fused.h"
#include "passes/epilogue.h"
#include "passes/graph_index.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

using namespace linear_q4gsw;
namespace fused_args = fused_linear;
constexpr std::size_t kMostParts = 3;

// Arguments of select_copy.
enum { kSelected, kDim, kIndex };

class LinearFusion {
 public:
  LinearFusion(Graph& graph, std::span<const std::uint8_t> written_elsewhere)
      : graph_(graph), written_elsewhere_(written_elsewhere) {}

  void run() {
    each_call(&LinearFusion::fuse_gate);
    fuse_epilogues(graph_, written_elsewhere_);
    each_call(&LinearFusion::stack_siblings);
    each_call(&LinearFusion::fuse_norm);
    each_call(&LinearFusion::fuse_last);
    narrow_to_last();
  }

 private:
  using Rewrite = void (LinearFusion::*)(const GraphIndex&, std::int32_t);

  void each_call(Rewrite rewrite) {
    rewrite_calls(graph_,
                  [&](const GraphIndex& index, std::int32_t c) { (this->*rewrite)(index, c); });
  }

  Call& call(std::int32_t c) { return graph_.calls[static_cast<std::size_t>(c)]; }

  bool is_linear(const GraphIndex& index, std::int32_t c) const {
    return c != kNoCall && index.call(c).name == kName;
  }

  // Sizes agree as recorded, so a fused epilogue reads element by element.
  bool same_sizes(ValueId a, ValueId b) const {
    return graph_.tensor(a) && graph_.tensor(b) &&
           graph_.tensor(a)->bound == graph_.tensor(b)->bound;
  }
  // Rewrites move a linear call down the graph. Over an activation that changes nothing; a buffer
  // that calls write in place may have other contents there.
  bool may_move(const GraphIndex& index, std::int32_t linear) const {
    const TensorInfo* x = graph_.tensor(index.behind_views(index.call(linear).args[kX]));
    return x && x->constant < 0;
  }

  // mul(silu(gate), up) or swiglu(gate, up), where gate and up share their input.
  void fuse_gate(const GraphIndex& index, std::int32_t c) {
    const Call& product = index.call(c);
    for (const auto& [silu, other] : gates_of(index, product)) {
      const std::int32_t gate = index.computed_by(silu.x, kName);
      const std::int32_t up = index.computed_by(other, kName);
      if (!is_linear(index, gate) || !is_linear(index, up) || gate == up) continue;
      if (graph_.is_none(index.call(gate).args[kBias]) !=
          graph_.is_none(index.call(up).args[kBias]))
        continue;
      if (!share_input(index, gate, up) || !may_move(index, gate)) continue;
      if (!same_weight_shape(index, gate, up) || !same_sizes(product.args[2], other)) continue;
      if (!follows_input(graph_, index.call(gate), product.args[2])) continue;
      if (!consumed_by(index, gate, c) || !consumed_by(index, up, c)) continue;
      const std::int32_t pair[] = {gate, up};
      Call out = fused_group_linear(graph_, index, pair, true, {product.args[2]});
      for (std::int32_t part : silu.calls) cover(out, index.call(part));
      cover(out, product);
      call(c) = std::move(out);
      return;
    }
  }

  // One call, or x * sigmoid(x), as the exporter's decompositions write it.
  struct Silu {
    ValueId x;
    std::vector<std::int32_t> calls;
  };
  std::optional<Silu> silu_of(const GraphIndex& index, ValueId v) const {
    const std::int32_t whole = index.computed_by(v, "aten.silu.default");
    if (whole != kNoCall) return Silu{index.call(whole).args[0], {whole}};
    const std::int32_t product = index.computed_by(v, "aten.mul.Tensor");
    if (product == kNoCall) return std::nullopt;
    const Call& mul = index.call(product);
    for (const auto& [x, gate] :
         {std::pair(mul.args[0], mul.args[1]), std::pair(mul.args[1], mul.args[0])}) {
      const std::int32_t sigmoid = index.computed_by(gate, "aten.sigmoid.default");
      if (sigmoid == kNoCall) continue;
      if (index.behind_views(index.call(sigmoid).args[0]) == index.behind_views(x))
        return Silu{x, {sigmoid, product}};
    }
    return std::nullopt;
  }

  // What a product may be silu(x) times, with that silu.
  std::vector<std::pair<Silu, ValueId>> gates_of(const GraphIndex& index,
                                                 const Call& product) const {
    if (product.args.size() != 3) return {};
    const ValueId a = product.args[0], b = product.args[1];
    if (product.name == "et_vk.swiglu.default") return {{Silu{a, {}}, b}};
    std::vector<std::pair<Silu, ValueId>> out;
    if (product.name != "aten.mul.Tensor") return out;
    for (const auto& [activated, other] : {std::pair(a, b), std::pair(b, a)})
      if (std::optional<Silu> silu = silu_of(index, activated))
        out.emplace_back(*std::move(silu), other);
    return out;
  }

  // Everything computed from a linear's output ends in call `last`, and nothing on the way is an
  // output.
  bool consumed_by(const GraphIndex& index, std::int32_t linear, std::int32_t last) const {
    return flows_into(index, index.call(linear).args[kOut], last, 0);
  }
  bool flows_into(const GraphIndex& index, ValueId v, std::int32_t last, int depth) const {
    constexpr int kDeepest = 8;
    if (depth > kDeepest || index.is_output(v)) return false;
    return std::ranges::all_of(index.users(v), [&](std::int32_t user) {
      return user == last ||
             (user < last && flows_into(index, index.call(user).args.back(), last, depth + 1));
    });
  }

  bool share_input(const GraphIndex& index, std::int32_t a, std::int32_t b) const {
    const Call &x = index.call(a), &y = index.call(b);
    return index.behind_views(x.args[kX]) == index.behind_views(y.args[kX]) &&
           graph_.tensor(x.args[kX])->bound == graph_.tensor(y.args[kX])->bound &&
           group_of(x) == group_of(y) && group_of(x) > 0;
  }
  // -1 unless it is a fixed integer, which may arrive as a whole Double.
  double group_of(const Call& linear) const {
    const Value& group = graph_.value(linear.args[kGroup]);
    if (const auto* i = std::get_if<std::int64_t>(&group)) return static_cast<double>(*i);
    const auto* d = std::get_if<double>(&group);
    return d ? *d : -1;
  }
  bool same_weight_shape(const GraphIndex& index, std::int32_t a, std::int32_t b) const {
    return graph_.tensor(index.call(a).args[kWeight])->bound ==
           graph_.tensor(index.call(b).args[kWeight])->bound;
  }

  // Up to three plain linear calls on one input become one with as many outputs, in place of the
  // first: their other arguments are constants.
  void stack_siblings(const GraphIndex& index, std::int32_t c) {
    if (!is_linear(index, c) || call(c).name != kName) return;
    std::vector<std::int32_t> siblings = {c};
    for (std::int32_t user : index.users(index.call(c).args[kX])) {
      if (user <= c || siblings.size() == kMostParts || call(user).name != kName) continue;
      const bool same_bias =
          graph_.is_none(index.call(c).args[kBias]) == graph_.is_none(index.call(user).args[kBias]);
      if (same_bias && share_input(index, c, user)) siblings.push_back(user);
    }
    if (siblings.size() < 2) return;
    std::vector<ValueId> outs;
    for (std::int32_t s : siblings) outs.push_back(index.call(s).args[kOut]);
    Call out = fused_group_linear(graph_, index, siblings, false, std::move(outs));
    for (std::int32_t s : siblings) call(s) = Call{};
    call(c) = std::move(out);
  }

  // linear(rms_norm(x)), where the norm has no other reader.
  void fuse_norm(const GraphIndex& index, std::int32_t c) {
    if (!is_linear(index, c) && index.call(c).name != fused_args::kName) return;
    const ValueId x = index.call(c).args[kX];
    const std::int32_t norm = index.computed_by(x, "et_vk.rms_norm.default");
    if (norm == kNoCall || !index.only_read_by(index.call(norm).args.back(), c)) return;
    const Call& rms = index.call(norm);
    if (!same_sizes(rms.args[0], x)) return;
    make_fused(index, c);
    call(c).args[fused_args::kX] = rms.args[0];
    call(c).args[fused_args::kNorm] = rms.args[1];
    call(c).args[fused_args::kEps] = rms.args[2];
    cover(call(c), rms);
  }

  // linear(select(x, 1, -1)) of x [1, S, K]: the logits of the last token, where nothing else reads
  // what was selected.
  void fuse_last(const GraphIndex& index, std::int32_t c) {
    if (!is_linear(index, c) && index.call(c).name != fused_args::kName) return;
    const ValueId row = index.call(c).args[kX];
    const std::int32_t select = index.producer(row);
    if (select == kNoCall || index.call(select).name != "aten.select_copy.int") return;
    const Call& source = index.call(select);
    const TensorInfo* x = graph_.tensor(source.args[kSelected]);
    const TensorInfo* behind = graph_.tensor(index.behind_views(source.args[kSelected]));
    if (x->bound.rank() != 3 || x->bound[0] != 1 || behind->constant >= 0) return;
    const ValueId dim = source.args[kDim];
    if (!graph_.is_int(dim, 1) && !graph_.is_int(dim, -2)) return;
    if (!graph_.is_int(source.args[kIndex], -1)) return;
    if (!index.only_read_by(row, c)) return;
    make_fused(index, c);
    call(c).args[fused_args::kX] = source.args[kSelected];
    call(c).args[fused_args::kLast] = graph_.add(true);
    cover(call(c), source);
  }

  // Layers [1, S, K] whose output is read for its last row alone compute no other: the feed-forward
  // of a last decoder layer, from its end on.
  void narrow_to_last() {
    const GraphIndex index(graph_);
    for (auto c = static_cast<std::int32_t>(graph_.calls.size()) - 1; c >= 0; --c) {
      const Call& layer = call(c);
      if (layer.name != fused_args::kName || is_last(layer) || outputs(layer).size() != 1) continue;
      const ValueId out = outputs(layer).front();
      auto* info = std::get_if<TensorInfo>(&graph_.value(out));
      const std::span<const std::int32_t> users = index.users(out);
      if (users.empty() || index.is_output(out) || info->bound.rank() != 3 || info->bound[0] != 1 ||
          graph_.tensor(layer.args[fused_args::kX])->bound.rank() != 3)
        continue;
      const auto takes_last = [&](std::int32_t user) {
        const Call& reader = call(user);
        return reader.name == fused_args::kName && is_last(reader) &&
               (reader.args[fused_args::kX] == out || reader.args[fused_args::kResidual] == out);
      };
      if (!std::ranges::all_of(users, takes_last)) continue;
      info->bound[1] = 1;  // first: a value that is added moves the others
      call(c).args[fused_args::kLast] = graph_.add(true);
    }
  }
  bool is_last(const Call& fused) const {
    return std::get<bool>(graph_.value(fused.args[fused_args::kLast]));
  }
  std::span<const ValueId> outputs(const Call& fused) const {
    return std::get<ValueList>(graph_.value(fused.args[fused_args::kOuts])).items;
  }

  void make_fused(const GraphIndex& index, std::int32_t c) {
    if (!is_linear(index, c)) return;
    const std::int32_t one[] = {c};
    call(c) = fused_group_linear(graph_, index, one, false, {index.call(c).args[kOut]});
  }

  Graph& graph_;
  std::span<const std::uint8_t> written_elsewhere_;
};

}  // namespace

void fuse_linear(Graph& graph, std::span<const std::uint8_t> written_elsewhere) {
  LinearFusion(graph, written_elsewhere).run();
}

}  // namespace etwebgpu
