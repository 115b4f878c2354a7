// How each tensor is stored: what operators are prepared for decides, and what hosts have.
#include <algorithm>

#include "ops/op.h"
#include "passes/passes.h"

namespace etwebgpu {
namespace {

using Flags = std::vector<std::uint8_t>;  // by ValueId; of roots

std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

// The uses of values in a graph, by roots. Views that share their source's memory are none.
class Uses {
 public:
  Uses(const Graph& graph, const Aliasing& aliasing) : graph_(graph), aliasing_(aliasing) {}

  std::size_t root(ValueId v) const { return index(aliasing_.storage[index(v)]); }

  // visit(root, op, argument, is written) for every tensor of every call.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (const Call& call : graph_.calls) {
      const Op* op = find_op(call.name);
      if (!op || is_shared_view(call, *op)) continue;
      for (std::size_t a = 0; a < call.args.size(); ++a) {
        const bool written = a + 1 == call.args.size() || holds(op->mutated_args, a);
        const auto one = [&](ValueId v) {
          if (graph_.tensor(v)) visit(root(v), *op, a, written);
        };
        one(call.args[a]);
        if (const auto* list = std::get_if<ValueList>(&graph_.value(call.args[a])))
          std::ranges::for_each(list->items, one);
      }
    }
  }

 private:
  bool is_shared_view(const Call& call, const Op& op) const {
    return op.is_view && call.args.size() >= 2 && graph_.tensor(call.args.front()) &&
           root(call.args.front()) == root(call.args.back());
  }

  const Graph& graph_;
  const Aliasing& aliasing_;
};

// Values that something uses, and everything takes, in that storage.
Flags find_taken(const Graph& graph, const Uses& uses, Storage storage) {
  Flags taken(graph.values.size(), 0), refused(graph.values.size(), 0);
  uses.for_each([&](std::size_t root, const Op& op, std::size_t arg, bool) {
    (op.takes(storage, arg) ? taken : refused)[root] = 1;
  });
  for (std::size_t v = 0; v < taken.size(); ++v) {
    const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
    taken[v] = taken[v] && !refused[v] && info && can_store(storage, info->dtype);
  }
  return taken;
}

// Mutable tensors as two f16 per word: KV caches.
Flags find_half_states(const Graph& graph, const Aliasing& aliasing, const Uses& uses) {
  Flags half = find_taken(graph, uses, Storage::HalfPairs);
  for (std::size_t v = 0; v < half.size(); ++v) {
    const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
    half[v] = half[v] && aliasing.mutated[v] && !info->bound.empty() && info->bound.back() % 2 == 0;
  }
  for (ValueId v : graph.outputs) half[uses.root(v)] = 0;
  return half;
}

// Integers that all their writers and some reader can have in 64 bits. The others are indices and
// the like, which hosts give in 64 bits but which fit 32.
Flags find_wide(const Graph& graph, const Aliasing& aliasing, const Uses& uses) {
  Flags wide(graph.values.size(), 0), narrow(graph.values.size(), 0);
  for (ValueId v : graph.outputs) wide[uses.root(v)] = 1;
  uses.for_each([&](std::size_t root, const Op& op, std::size_t arg, bool written) {
    const bool takes = op.takes(Storage::I64, arg);
    if (written && !takes) narrow[root] = 1;
    if (!written && takes) wide[root] = 1;
  });
  for (std::size_t v = 0; v < wide.size(); ++v) {
    const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
    const bool is_wide_type = info && can_store(Storage::I64, info->dtype);
    const bool is_constant = info && info->constant >= 0 && !aliasing.mutated[v];
    const bool is_narrow_file = is_constant && info->dtype == DType::Int32;
    wide[v] = wide[v] && !narrow[v] && is_wide_type && !is_narrow_file;
  }
  return wide;
}

}  // namespace

std::vector<Storage> choose_storage(const Graph& graph, const Aliasing& aliasing,
                                    FloatType kv_cache, bool wide_integers) {
  const Uses uses(graph, aliasing);
  const Flags wide = find_wide(graph, aliasing, uses);
  const Flags bytes = find_taken(graph, uses, Storage::Bytes);
  const Flags half = kv_cache == FloatType::F16 ? find_half_states(graph, aliasing, uses)
                                                : Flags(graph.values.size(), 0);
  std::vector<Storage> out(graph.values.size(), Storage::F32);
  for (std::size_t v = 0; v < out.size(); ++v) {
    const TensorInfo* info = graph.tensor(static_cast<ValueId>(v));
    if (!info) continue;
    const std::size_t root = uses.root(static_cast<ValueId>(v));
    const DType dtype = graph.tensor(static_cast<ValueId>(root))->dtype;
    out[v] = word_storage(dtype);
    if (half[root]) out[v] = Storage::HalfPairs;
    // Not a state, which methods with other uses share.
    if (bytes[root] && !aliasing.mutated[root]) out[v] = Storage::Bytes;
    // A state is the same for every call, and what is recorded as int64 for every host.
    if (wide[root] && (wide_integers || aliasing.mutated[root] || dtype == DType::Int64))
      out[v] = Storage::I64;
  }
  return out;
}

}  // namespace etwebgpu
