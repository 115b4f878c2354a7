// Attention without a cache: one fused_sdpa::kName (ops/fused.h) in place of et_vk.sdpa, and of
//
//   softmax(q k [* or / a number] [+ mask]) v
//
// written as products, as modules' own attention is exported. Its operands are then read where the
// layers before left them, and its output is written as the layer behind wants it: permutations and
// selections in between become "strided.*" calls (ops/movement/strided.h), which move nothing.
// Permutations that move only dimensions of size 1 become these everywhere.
#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <variant>

#include "ops/fused.h"
#include "ops/movement/strided.h"
#include "passes/graph_index.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

namespace fused = fused_sdpa;
std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

constexpr std::string_view kPlain = "et_vk.sdpa.default";

// What passes ask of a graph here.
class Facts {
 public:
  Facts(const Graph& graph, std::span<const std::uint8_t> written_elsewhere)
      : graph_(graph),
        index_(graph),
        aliasing_(find_aliases(graph)),
        written_elsewhere_(written_elsewhere) {}

  const GraphIndex& index() const { return index_; }
  const Dims& bound(ValueId v) const { return graph_.tensor(v)->bound; }
  bool is_float(ValueId v) const {
    const TensorInfo* info = graph_.tensor(v);
    return info && is_floating(info->dtype);
  }
  // Its contents stay what they are once they are there.
  bool is_kept(ValueId v) const {
    return !aliasing_.overwritten[etwebgpu::index(aliasing_.storage[etwebgpu::index(v)])];
  }
  // A constant that nobody writes.
  const TensorInfo* constant(ValueId v) const {
    const ValueId root = aliasing_.storage[etwebgpu::index(v)];
    const bool elsewhere = !written_elsewhere_.empty() && written_elsewhere_[etwebgpu::index(root)];
    const TensorInfo* info = graph_.tensor(root);
    return info && info->constant >= 0 && is_kept(v) && !elsewhere ? info : nullptr;
  }
  // An intermediate result with one reader.
  bool is_only_for(ValueId v, std::int32_t reader) const {
    return is_float(v) && is_kept(v) && index_.only_read_by(v, reader);
  }
  std::optional<double> number(ValueId v) const {
    if (const auto* whole = std::get_if<std::int64_t>(&graph_.value(v)))
      return static_cast<double>(*whole);
    if (const auto* real = std::get_if<double>(&graph_.value(v))) return *real;
    return std::nullopt;
  }

 private:
  const Graph& graph_;
  const GraphIndex index_;
  const Aliasing aliasing_;
  std::span<const std::uint8_t> written_elsewhere_;
};

// --- Products and a softmax ---

// Sizes of the two last dimensions, and of all before them together.
bool are_matrices(const Dims& d, const Dims& other) {
  if (d.rank() < 2 || other.rank() < 2) return false;
  const std::size_t a = d.rank(), b = other.rank();
  return d[a - 1] == other[b - 1] && d[a - 2] == other[b - 2] &&
         d.product(0, a - 2) == other.product(0, b - 2);
}

class ProductFusion {
 public:
  ProductFusion(Graph& graph, std::span<const std::uint8_t> written_elsewhere,
                const ConstantNumber& number)
      : graph_(graph), facts_(graph, written_elsewhere), number_(number) {}

  Result<void> run() {
    const auto count = static_cast<std::int32_t>(graph_.calls.size());
    for (std::int32_t c = 0; c < count; ++c) {
      if (call(c).name == kPlain) widen(c);
      if (call(c).name == "aten._softmax.default") TRY(fuse(c));
    }
    std::erase_if(graph_.calls, [](const Call& covered) { return covered.name.empty(); });
    remove_dead_calls(graph_);
    return {};
  }

 private:
  const Call& call(std::int32_t c) const { return graph_.calls[static_cast<std::size_t>(c)]; }
  Call& call(std::int32_t c) { return graph_.calls[static_cast<std::size_t>(c)]; }
  const GraphIndex& index() const { return facts_.index(); }

  // et_vk.sdpa(q, k, v, mask, scale) -> out
  void widen(std::int32_t c) {
    const Call plain = call(c);
    const ValueId out = plain.args.back();
    const std::span operands = std::span(plain.args).first(3);
    const auto is_float = [&](ValueId v) { return facts_.is_float(v); };
    const auto is_moved = [&](ValueId v) {
      const std::int32_t source = index().producer(index().behind_views(v));
      return source != kNoCall && !strided_name(graph_, call(source)).empty();
    };
    const auto moves = [&](std::int32_t user) { return !strided_name(graph_, call(user)).empty(); };
    if (!std::ranges::all_of(operands, is_float) || !facts_.is_float(out) ||
        (std::ranges::none_of(operands, is_moved) &&
         std::ranges::none_of(index().users(out), moves)))
      return;
    const ValueId none = graph_.add(std::monostate{});
    Call made{.name = std::string(fused::kName), .args = {}, .node_id = plain.node_id};
    made.args = {plain.args.begin(), plain.args.end() - 1};
    made.args.push_back(graph_.add(false));
    made.args.resize(fused::kOut, none);
    made.args.push_back(out);
    cover(made, plain);
    call(c) = std::move(made);
  }

  struct Scores {
    std::int32_t product = kNoCall;  // of q and k
    std::vector<std::int32_t> between;
    ValueId mask = kNoValue;
    double scale = 1.0;
    ValueId sizes = kNoValue;  // that a view gives the product
  };

  Result<void> fuse(std::int32_t softmax) {
    const Call& c = call(softmax);
    const ValueId weights = c.args.back();
    const auto dim = facts_.number(c.args[1]);
    const auto rank = static_cast<double>(facts_.bound(weights).rank());
    if (rank < 2 || rank > 4 || !dim || (*dim != -1 && *dim != rank - 1)) return {};
    const std::vector<std::int32_t> readers = index().readers(weights);
    if (readers.size() != 1 || !facts_.is_only_for(weights, readers[0])) return {};
    const std::int32_t mixed = readers[0];
    if (call(mixed).name != "aten.bmm.default") return {};
    const ValueId left = call(mixed).args[0];
    if (index().behind_views(left) != weights ||
        index().behind_views(call(mixed).args[1]) == weights ||
        !are_matrices(facts_.bound(left), facts_.bound(weights)))
      return {};
    TRY_ASSIGN(const std::optional<Scores> scores, scores_of(c.args[0], softmax));
    if (scores) replace(*scores, softmax, mixed);
    return {};
  }

  // What `reader` takes as scores: a product of q and k, with a number and a mask. `v` and all on
  // the way have the weights' sizes.
  Result<std::optional<Scores>> scores_of(ValueId v, std::int32_t reader) {
    Scores out;
    const Dims sizes = facts_.bound(v);
    for (;;) {
      const ValueId source = index().behind_views(v);
      const std::int32_t c = index().producer(source);
      if (c == kNoCall || !facts_.is_only_for(source, reader)) return std::nullopt;
      const Call& made = call(c);
      if (made.name == "aten.bmm.default") {
        if (!are_matrices(facts_.bound(source), sizes)) return std::nullopt;
        out.product = c;
        out.sizes = v;
        return out;
      }
      // Views of other sizes come right behind the product alone.
      if (facts_.bound(source) != sizes) return std::nullopt;
      TRY_ASSIGN(const bool taken, take(out, made, v));
      if (!taken) return std::nullopt;
      out.between.push_back(c);
      reader = c;
    }
  }

  // Takes a mask or a factor, and goes on with the operand that is left.
  Result<bool> take(Scores& out, const Call& made, ValueId& v) {
    const bool first_has_sizes =
        graph_.tensor(made.args[0]) && facts_.bound(made.args[0]) == facts_.bound(v);
    const bool add = made.name == "aten.add.Tensor", times = made.name == "aten.mul.Tensor";
    if (!add && !times && made.name != "aten.div.Tensor") return false;
    const bool first = first_has_sizes && (!add || is_scores(made.args[0]));
    if (!first && made.name == "aten.div.Tensor") return false;
    const ValueId other = made.args[first ? 1 : 0];
    v = made.args[first ? 0 : 1];
    if (!facts_.is_float(v) || facts_.bound(v) != facts_.bound(made.args.back())) return false;
    if (!add) {
      TRY_ASSIGN(const std::optional<double> factor, factor_of(other));
      if (!factor) return false;
      out.scale *= times ? *factor : 1.0 / *factor;
      return true;
    }
    // A mask behind a factor would be scaled, too.
    if (out.mask != kNoValue || out.scale != 1.0 || !is_mask(other, facts_.bound(v)) ||
        facts_.number(made.args[2]) != 1.0)
      return false;
    out.mask = other;
    return true;
  }

  // Whether these come from a product.
  bool is_scores(ValueId v) const {
    for (std::int32_t steps = 0; steps < 3; ++steps) {
      const std::int32_t c = index().producer(index().behind_views(v));
      if (c == kNoCall) return false;
      const std::string& name = call(c).name;
      if (name == "aten.bmm.default") return true;
      if (name != "aten.mul.Tensor" && name != "aten.div.Tensor") return false;
      const bool second = !graph_.tensor(call(c).args[0]) || facts_.bound(call(c).args[0]).empty();
      v = call(c).args[second ? 1 : 0];
      if (!graph_.tensor(v)) return false;
    }
    return false;
  }

  bool is_mask(ValueId v, const Dims& scores) const {
    if (!facts_.is_float(v) || !facts_.is_kept(v)) return false;
    const Dims& mask = facts_.bound(v);
    if (mask.rank() > scores.rank()) return false;
    for (std::size_t i = 0; i < mask.rank(); ++i)
      if (mask[i] != 1 && mask[i] != scores[scores.rank() - mask.rank() + i]) return false;
    return true;
  }

  Result<std::optional<double>> factor_of(ValueId v) {
    if (const auto number = facts_.number(v)) return number;
    const TensorInfo* constant = graph_.tensor(v) ? facts_.constant(v) : nullptr;
    if (!constant || constant->bound.numel() != 1 || !facts_.bound(v).empty() || !number_)
      return std::nullopt;
    return number_(*constant);
  }

  // --- The call that is made ---

  // Whether v has the weights' dimensions before its matrices.
  bool has_lead(ValueId v, const Dims& weights) const {
    const Dims& d = facts_.bound(v);
    return d.rank() == weights.rank() &&
           std::ranges::equal(std::span(d.begin(), d.rank() - 2),
                              std::span(weights.begin(), d.rank() - 2));
  }

  // A value with those dimensions, and the sizes that a view lists between it and a product.
  struct Operand {
    ValueId value = kNoValue, sizes = kNoValue;
  };

  // v, or what it is a view of.
  std::optional<Operand> operand(ValueId v, const Dims& weights) const {
    const Dims wanted = facts_.bound(v);
    Operand out{.value = v};
    while (facts_.is_float(out.value) && are_matrices(facts_.bound(out.value), wanted)) {
      const bool fits = has_lead(out.value, weights);
      if (fits) return facts_.is_kept(out.value) ? std::optional(out) : std::nullopt;
      if (index().behind_views(out.value) == out.value) return std::nullopt;
      const Call& view = call(index().producer(out.value));
      if (listed(out.value) && !take_list(out.sizes, out.value, weights)) return std::nullopt;
      out.value = view.args[0];
    }
    return std::nullopt;
  }

  // The sizes that a view lists: those of v, with the weights' dimensions or with these as one.
  bool take_list(ValueId& list, ValueId v, const Dims& weights) const {
    if (list != kNoValue || (facts_.bound(v).rank() != 3 && !has_lead(v, weights))) return false;
    list = call(index().producer(v)).args[1];
    return true;
  }

  // Whether the call that made v is a view to sizes that it lists.
  bool listed(ValueId v) const {
    const std::int32_t c = index().producer(v);
    return c != kNoCall &&
           (call(c).name == "aten.view_copy.default" || call(c).name == "aten.reshape.default");
  }

  // The value with the attention's dimensions that v is only read through.
  std::optional<Operand> result(ValueId v, const Dims& weights) const {
    const Dims wanted = facts_.bound(v);
    Operand out{.value = v};
    while (facts_.is_float(out.value) && facts_.is_kept(out.value) &&
           are_matrices(facts_.bound(out.value), wanted)) {
      if (has_lead(out.value, weights)) return out;
      const auto users = index().users(out.value);
      if (users.size() != 1 || index().is_output(out.value)) return std::nullopt;
      const ValueId next = call(users[0]).args.back();
      if (!graph_.tensor(next) || index().behind_views(next) == next) return std::nullopt;
      if (listed(next) && !take_list(out.sizes, next, weights)) return std::nullopt;
      out.value = next;
    }
    return std::nullopt;
  }

  // The sizes that a view lists between two values, or kNoValue: null where several do.
  std::optional<ValueId> list_between(ValueId from, ValueId to, const Dims& weights) const {
    ValueId list = kNoValue;
    for (; to != from; to = call(index().producer(to)).args[0]) {
      if (index().producer(to) == kNoCall || !are_matrices(facts_.bound(to), weights) ||
          (listed(to) && !take_list(list, to, weights)))
        return std::nullopt;
    }
    return list;
  }

  void replace(const Scores& scores, std::int32_t softmax, std::int32_t mixed) {
    const Dims weights = facts_.bound(call(softmax).args.back());
    const Call &product = call(scores.product), &mixing = call(mixed);
    const auto q = operand(product.args[0], weights), k = operand(product.args[1], weights);
    const auto v = operand(mixing.args[1], weights), out = result(mixing.args.back(), weights);
    if (!q || !k || !v || !out) return;
    const auto score_list = list_between(product.args.back(), scores.sizes, weights);
    const auto weight_list = list_between(call(softmax).args.back(), mixing.args[0], weights);
    if (!score_list || !weight_list) return;
    const ValueId none = graph_.add(std::monostate{});
    const auto given = [&](ValueId list) { return list == kNoValue ? none : list; };
    Call made{.name = std::string(fused::kName), .args = {}, .node_id = call(softmax).node_id};
    made.args = {q->value,
                 k->value,
                 v->value,
                 given(scores.mask),
                 graph_.add(scores.scale),
                 graph_.add(true),
                 none,
                 given(q->sizes),
                 given(k->sizes),
                 given(v->sizes),
                 given(*score_list),
                 given(*weight_list),
                 given(out->sizes),
                 out->value};
    std::vector<std::int32_t> covered = scores.between;
    covered.push_back(scores.product);
    std::ranges::reverse(covered);
    covered.insert(covered.end(), {softmax, mixed});
    for (const std::int32_t c : covered) cover(made, std::as_const(*this).call(c));
    // Views between the product and its result with all dimensions go, too.
    for (ValueId seen = out->value; seen != mixing.args.back();) {
      const std::int32_t view = index().producer(seen);
      seen = call(view).args[0];
      call(view) = Call{};
    }
    for (const std::int32_t c : covered)
      if (c != mixed) call(c) = Call{};
    call(mixed) = std::move(made);
  }

  Graph& graph_;
  const Facts facts_;
  const ConstantNumber& number_;
};

// --- Where its tensors lie ---

class Layouts {
 public:
  Layouts(Graph& graph, std::span<const std::uint8_t> written_elsewhere)
      : graph_(graph), facts_(graph, written_elsewhere) {
    live_.scalars.assign(graph.values.size(), 0);
    live_.changed.assign(graph.values.size(), 0);
    for (std::size_t v = 0; v < graph.values.size(); ++v) {
      const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
      live_.sizes.push_back(info ? info->bound : Dims());
    }
  }

  void run() {
    permute_outputs();
    find_candidates();
    while (drop_other_readers() || drop_unsayable()) {
    }
    for (std::size_t c = 0; c < graph_.calls.size(); ++c)
      if (strided_[c]) graph_.calls[c].name = strided_name(graph_, graph_.calls[c]);
    std::erase_if(graph_.calls, [](const Call& gone) { return gone.name.empty(); });
  }

 private:
  const GraphIndex& index() const { return facts_.index(); }

  // A permutation right behind an attention, of all but the last dimension.
  void permute_outputs() {
    for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
      Call& attention = graph_.calls[c];
      if (attention.name != fused::kName) continue;
      const ValueId out = attention.args.back();
      const auto users = index().users(out);
      if (users.size() != 1 || index().is_output(out) || !facts_.is_kept(out)) continue;
      Call& permutation = graph_.calls[static_cast<std::size_t>(users[0])];
      if (strided_name(graph_, permutation).empty() || !facts_.is_float(permutation.args.back()) ||
          !facts_.is_kept(permutation.args.back()))
        continue;
      const auto order = order_of(permutation);
      if (!order) continue;
      const Call covered[] = {attention, permutation};
      attention.covers.clear();
      for (const Call& each : covered) cover(attention, each);
      attention.args[fused::kOrder] = graph_.add(IntList{*order});
      attention.args.back() = permutation.args.back();
      permutation = Call{};
    }
  }

  // Which dimension of its input each of a permutation's output is, if the last stays.
  std::optional<std::vector<std::int64_t>> order_of(const Call& permutation) const {
    const std::size_t rank = facts_.bound(permutation.args[0]).rank();
    Strided named{.sizes = Dims::filled(rank, 1), .strides = Dims::filled(rank, 0)};
    for (std::size_t d = 0; d < rank; ++d) named.strides[d] = static_cast<std::int64_t>(d);
    const auto moved = restrided(CallContext(graph_, permutation, live_), named);
    if (!moved || moved->sizes.rank() != rank || rank < 2) return std::nullopt;
    std::vector<std::int64_t> order(moved->strides.begin(), moved->strides.end());
    if (order.back() != static_cast<std::int64_t>(rank - 1)) return std::nullopt;
    return order;
  }

  void find_candidates() {
    strided_.assign(graph_.calls.size(), 0);
    keeps_order_.assign(graph_.calls.size(), 0);
    for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
      const Call& call = graph_.calls[c];
      if (strided_name(graph_, call).empty()) continue;
      const ValueId from = call.args[0], to = call.args.back();
      if (!facts_.is_float(from) || !facts_.is_float(to) || !facts_.is_kept(from) ||
          !facts_.is_kept(to))
        continue;
      strided_[c] = 1;
      keeps_order_[c] = keeps_order(call);
    }
  }

  // Dimensions that may be larger than 1 stay in their order.
  bool keeps_order(const Call& call) const {
    const auto moved =
        restrided(CallContext(graph_, call, live_), contiguous(facts_.bound(call.args[0])));
    if (!moved || moved->sizes.numel() != facts_.bound(call.args[0]).numel()) return false;
    std::int64_t before = std::numeric_limits<std::int64_t>::max();
    for (std::size_t d = 0; d < moved->sizes.rank(); ++d) {
      if (moved->sizes[d] == 1) continue;
      if (moved->strides[d] >= before) return false;
      before = moved->strides[d];
    }
    return true;
  }

  bool is_view(std::int32_t c) const {
    const Call& call = graph_.calls[static_cast<std::size_t>(c)];
    const Op* op = find_op(call.name);
    return op && op->is_view && call.args.size() > 1 && facts_.is_float(call.args.front()) &&
           facts_.is_float(call.args.back());
  }

  // Whether all that reads v follows strides.
  bool only_for_strides(ValueId v) const {
    if (index().is_output(v)) return false;
    return std::ranges::all_of(index().users(v), [&](std::int32_t user) {
      const Call& call = graph_.calls[static_cast<std::size_t>(user)];
      if (call.name == fused::kName) return call.args[fused::kMask] != v;
      return (strided_[static_cast<std::size_t>(user)] || is_view(user)) &&
             facts_.is_kept(call.args.back()) && only_for_strides(call.args.back());
    });
  }

  bool drop_other_readers() {
    bool changed = false;
    for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
      if (!strided_[c] || keeps_order_[c] || only_for_strides(graph_.calls[c].args.back()))
        continue;
      strided_[c] = 0;
      changed = true;
    }
    return changed;
  }

  // Of chains that strides cannot say, at the recorded sizes, the call that is furthest from the
  // attention is a copy after all.
  bool drop_unsayable() {
    for (const Call& call : graph_.calls) {
      if (call.name != fused::kName) continue;
      for (const std::size_t arg : {fused::kQ, fused::kK, fused::kV}) {
        const std::vector<std::int32_t> chain = chain_of(call.args[arg]);
        const auto moves = std::ranges::find_if(chain.rbegin(), chain.rend(), [&](std::int32_t c) {
          return strided_[static_cast<std::size_t>(c)] &&
                 !keeps_order_[static_cast<std::size_t>(c)];
        });
        if (moves == chain.rend() || has_rows(call, arg, chain)) continue;
        strided_[static_cast<std::size_t>(*moves)] = 0;
        return true;
      }
    }
    return false;
  }

  // Views and candidates that v comes by, the nearest first.
  std::vector<std::int32_t> chain_of(ValueId v) const {
    std::vector<std::int32_t> chain;
    for (;;) {
      const std::int32_t c = index().producer(v);
      if (c == kNoCall || !(strided_[static_cast<std::size_t>(c)] || is_view(c))) return chain;
      chain.push_back(c);
      v = graph_.calls[static_cast<std::size_t>(c)].args.front();
    }
  }

  bool has_rows(const Call& attention, std::size_t arg, std::span<const std::int32_t> chain) const {
    const Call& first = graph_.calls[static_cast<std::size_t>(chain.back())];
    std::optional<Strided> at = contiguous(facts_.bound(first.args.front()));
    for (std::size_t i = chain.size(); at && i-- > 0;)
      at = restrided(CallContext(graph_, graph_.calls[static_cast<std::size_t>(chain[i])], live_),
                     *at);
    if (!at || at->sizes.rank() < 2) return false;
    const auto* transposed = std::get_if<bool>(&graph_.value(attention.args[fused::kTransposed]));
    const bool swapped = arg == fused::kK && transposed && *transposed;
    const std::size_t row = at->sizes.rank() - (swapped ? 2 : 1);
    return at->sizes[row] == 1 || at->strides[row] == 1;
  }

  Graph& graph_;
  const Facts facts_;
  LiveState live_;
  std::vector<std::uint8_t> strided_;      // by call: it will move nothing
  std::vector<std::uint8_t> keeps_order_;  // by call: whatever reads it
};

}  // namespace

Result<void> fuse_sdpa(Graph& graph, std::span<const std::uint8_t> written_elsewhere,
                       const ConstantNumber& number) {
  TRY(ProductFusion(graph, written_elsewhere, number).run());
  Layouts(graph, written_elsewhere).run();
  return {};
}

}  // namespace etwebgpu
