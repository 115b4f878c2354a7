#include "plan/host_calls.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string_view>
#include <utility>

#include "passes/graph_index.h"

namespace etwebgpu {
namespace {

using Item = std::int64_t;

// A call with its arguments' elements.
class HostCall : public CallContext {
 public:
  HostCall(const Graph& graph, const Call& call, const LiveState& live,
           std::span<const ValueId> storage, std::span<const HostElements> elements)
      : CallContext(graph, call, live), storage_(storage), elements_(elements) {}

  const HostElements& elements_of(ValueId value) const {
    return elements_[static_cast<std::size_t>(storage_[static_cast<std::size_t>(value)])];
  }
  const HostElements& elements(std::size_t arg) const { return elements_of(id(arg)); }
  const Dims& out() const { return sizes_of(output_id()); }

  // Element of a tensor argument at an output position, broadcast; or the number.
  Item at(std::size_t arg, const Dims& position) const {
    if (!is_tensor(arg)) return integer(arg);
    const Dims& from = sizes(arg);
    const Dims strides = contiguous_strides(from);
    const std::size_t lead = position.rank() - from.rank();
    Item offset = 0;
    for (std::size_t d = 0; d < from.rank(); ++d)
      if (from[d] != 1) offset += position[lead + d] * strides[d];
    return elements(arg)[static_cast<std::size_t>(offset)];
  }

 private:
  std::span<const ValueId> storage_;
  std::span<const HostElements> elements_;
};

// make(position) for every position of sizes in row-major order.
template <typename Make>
HostElements each(const Dims& sizes, const Make& make) {
  HostElements out(static_cast<std::size_t>(sizes.numel()));
  Dims position = Dims::filled(sizes.rank(), 0);
  for (Item& item : out) {
    item = make(position);
    for (std::size_t d = sizes.rank(); d-- > 0;) {
      if (++position[d] < sizes[d]) break;
      position[d] = 0;
    }
  }
  return out;
}

// --- Arithmetic, which wraps ---

template <typename F>
Item wrapping(Item a, Item b, F f) {
  return static_cast<Item>(f(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
}
Item add(Item a, Item b) { return wrapping(a, b, std::plus()); }
Item sub(Item a, Item b) { return wrapping(a, b, std::minus()); }
Item mul(Item a, Item b) { return wrapping(a, b, std::multiplies()); }
Item truncated(Item a, Item b) {
  if (b == 0) return 0;
  return b == -1 ? sub(0, a) : a / b;
}
Item floored(Item a, Item b) {
  const Item quotient = truncated(a, b);
  const bool inexact = b != 0 && b != -1 && a % b != 0;
  return quotient - (inexact && (a < 0) != (b < 0) ? 1 : 0);
}

using Two = Item (*)(Item, Item);
struct TwoName {
  std::string_view name;
  Two apply;
  bool has_alpha = false;  // a factor of the second operand
};
constexpr TwoName kTwo[] = {
    {"aten.add.Tensor", add, true},
    {"aten.bitwise_and.Tensor", [](Item a, Item b) { return a & b; }},
    {"aten.bitwise_or.Tensor", [](Item a, Item b) { return a | b; }},
    {"aten.eq.Scalar", [](Item a, Item b) -> Item { return a == b; }},
    {"aten.eq.Tensor", [](Item a, Item b) -> Item { return a == b; }},
    {"aten.ge.Scalar", [](Item a, Item b) -> Item { return a >= b; }},
    {"aten.ge.Tensor", [](Item a, Item b) -> Item { return a >= b; }},
    {"aten.gt.Scalar", [](Item a, Item b) -> Item { return a > b; }},
    {"aten.gt.Tensor", [](Item a, Item b) -> Item { return a > b; }},
    {"aten.le.Scalar", [](Item a, Item b) -> Item { return a <= b; }},
    {"aten.le.Tensor", [](Item a, Item b) -> Item { return a <= b; }},
    {"aten.logical_and.default", [](Item a, Item b) -> Item { return a != 0 && b != 0; }},
    {"aten.logical_or.default", [](Item a, Item b) -> Item { return a != 0 || b != 0; }},
    {"aten.lt.Scalar", [](Item a, Item b) -> Item { return a < b; }},
    {"aten.lt.Tensor", [](Item a, Item b) -> Item { return a < b; }},
    {"aten.maximum.default", [](Item a, Item b) { return std::max(a, b); }},
    {"aten.minimum.default", [](Item a, Item b) { return std::min(a, b); }},
    {"aten.mul.Tensor", mul},
    {"aten.ne.Scalar", [](Item a, Item b) -> Item { return a != b; }},
    {"aten.ne.Tensor", [](Item a, Item b) -> Item { return a != b; }},
    {"aten.sub.Tensor", sub, true},
};

using One = Item (*)(Item);
struct OneName {
  std::string_view name;
  One apply;
};
constexpr OneName kOne[] = {
    {"aten.abs.default", [](Item a) { return a < 0 ? sub(0, a) : a; }},
    {"aten.bitwise_not.default", [](Item a) { return ~a; }},
    {"aten.logical_not.default", [](Item a) -> Item { return a == 0; }},
    {"aten.neg.default", [](Item a) { return sub(0, a); }},
    {"aten.relu.default", [](Item a) { return std::max<Item>(a, 0); }},
};

template <typename Row>
const Row* find(std::span<const Row> table, std::string_view name) {
  const auto row = std::ranges::find(table, name, &Row::name);
  return row == table.end() ? nullptr : &*row;
}

HostElements evaluate_two(const HostCall& c, Two apply, bool has_alpha) {
  return each(c.out(), [&](const Dims& at) {
    const Item b = c.at(1, at);
    return apply(c.at(0, at), has_alpha && c.arg_count() > 3 ? mul(c.integer(2), b) : b);
  });
}

HostElements evaluate_one(const HostCall& c, One apply) {
  return each(c.out(), [&](const Dims& at) { return apply(c.at(0, at)); });
}

// --- The others ---

Result<HostElements> division(const HostCall& c) {
  return evaluate_two(c, c.text(2) == "floor" ? floored : truncated, false);
}

Result<HostElements> clamp(const HostCall& c) {
  const Item least = c.integer_or(1, std::numeric_limits<Item>::min());
  const Item most = c.integer_or(2, std::numeric_limits<Item>::max());
  return each(c.out(),
              [&](const Dims& at) { return std::min(std::max(c.at(0, at), least), most); });
}

Result<HostElements> where(const HostCall& c) {
  return each(c.out(),
              [&](const Dims& at) { return c.at(0, at) != 0 ? c.at(1, at) : c.at(2, at); });
}

// The same elements in the same order.
Result<HostElements> view(const HostCall& c) { return c.elements(0); }

Result<HostElements> expand(const HostCall& c) {
  return each(c.out(), [&](const Dims& at) { return c.at(0, at); });
}

template <int value>
Result<HostElements> constant(const HostCall& c) {
  return HostElements(static_cast<std::size_t>(c.out().numel()), value);
}

template <std::size_t arg>
Result<HostElements> fill(const HostCall& c) {
  return HostElements(static_cast<std::size_t>(c.out().numel()), c.integer(arg));
}

Result<HostElements> arange(const HostCall& c) {
  const Item step = c.integer_or(2, 1);
  return each(c.out(), [&](const Dims& at) { return add(c.integer(0), mul(at[0], step)); });
}

// Element of the first argument at a position, with coordinate `dim` in its place.
Item picked(const HostCall& c, const Dims& position, std::size_t dim, Item coordinate, bool drops) {
  const Dims& from = c.sizes(0);
  const Dims strides = contiguous_strides(from);
  Item offset = 0;
  for (std::size_t d = 0; d < from.rank(); ++d) {
    const std::size_t at = drops && d > dim ? d - 1 : d;
    offset += (d == dim ? coordinate : position[at]) * strides[d];
  }
  return c.elements(0)[static_cast<std::size_t>(offset)];
}

Result<HostElements> select(const HostCall& c) {
  TRY_ASSIGN(const std::size_t dim, c.dim(1, c.sizes(0).rank()));
  const Item index = c.integer(2) < 0 ? c.integer(2) + c.sizes(0)[dim] : c.integer(2);
  return each(c.out(), [&](const Dims& at) { return picked(c, at, dim, index, true); });
}

Result<HostElements> slice(const HostCall& c) {
  TRY_ASSIGN(const std::size_t dim, c.dim(1, c.sizes(0).rank()));
  const Item extent = c.sizes(0)[dim], given = c.integer_or(2, 0), step = c.integer_or(4, 1);
  const Item start = std::clamp<Item>(given < 0 ? given + extent : given, 0, extent);
  return each(c.out(),
              [&](const Dims& at) { return picked(c, at, dim, start + at[dim] * step, false); });
}

Result<HostElements> concatenated(const HostCall& c) {
  TRY_ASSIGN(const std::size_t dim, c.dim(1, c.out().rank()));
  HostElements out;
  const Item rows = c.out().product(0, dim);
  for (Item row = 0; row < rows; ++row) {
    for (ValueId input : c.value_list(0)) {
      const Dims& sizes = c.sizes_of(input);
      if (sizes.numel() == 0) continue;
      const Item length = sizes.product(dim, sizes.rank());
      const auto begin = c.elements_of(input).begin() + row * length;
      out.insert(out.end(), begin, begin + length);
    }
  }
  return out;
}

struct OtherName {
  std::string_view name;
  Result<HostElements> (*evaluate)(const HostCall&);
};
constexpr OtherName kOther[] = {
    {"aten._to_copy.default", view},
    {"aten.alias_copy.default", view},
    {"aten.arange.start_step", arange},
    {"aten.cat.default", concatenated},
    {"aten.clamp.default", clamp},
    {"aten.clone.default", view},
    {"aten.div.Tensor_mode", division},
    {"aten.expand_copy.default", expand},
    {"aten.full.default", fill<1>},
    {"aten.full_like.default", fill<1>},
    {"aten.ones.default", constant<1>},
    {"aten.ones_like.default", constant<1>},
    {"aten.reshape.default", view},
    {"aten.scalar_tensor.default", fill<0>},
    {"aten.select_copy.int", select},
    {"aten.slice_copy.Tensor", slice},
    {"aten.squeeze_copy.dims", view},
    {"aten.unsqueeze_copy.default", view},
    {"aten.view_copy.default", view},
    {"aten.where.self", where},
    {"aten.zeros.default", constant<0>},
    {"aten.zeros_like.default", constant<0>},
    {"dim_order_ops._clone_dim_order.default", view},
    {"dim_order_ops._to_dim_order_copy.default", view},
    {"et_vk.prepack.default", view},
};

// As the recorded type keeps it.
Item stored(Item item, DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return item != 0;
    case DType::UInt8:
      return static_cast<std::uint8_t>(item);
    case DType::Int8:
      return static_cast<std::int8_t>(item);
    default:
      return item;
  }
}

bool is_integers(const Graph& graph, ValueId value) {
  const TensorInfo* info = graph.tensor(value);
  if (info) return !is_floating(info->dtype);
  const auto* number = std::get_if<double>(&graph.value(value));
  return !number || *number == std::trunc(*number);
}

// --- Which calls ---

bool is_host_call(const Graph& graph, const Call& call) {
  const bool known = find<TwoName>(kTwo, call.name) || find<OneName>(kOne, call.name) ||
                     find<OtherName>(kOther, call.name);
  return known && std::ranges::all_of(call.args, [&](ValueId v) { return is_integers(graph, v); });
}

class HostReader {
 public:
  HostReader(const Graph& graph, std::span<const Op* const> ops, const Aliasing& aliasing)
      : graph_(graph), ops_(ops), aliasing_(aliasing), writer_(graph.values.size(), kNoCall) {
    out_.inputs.assign(graph.inputs.size(), 0);
    out_.calls.assign(graph.calls.size(), 0);
    out_.only.assign(graph.calls.size(), 0);
  }

  Result<HostReads> run() {
    for (std::size_t c = 0; c < graph_.calls.size(); ++c)
      writer_[index(graph_.calls[c].args.back())] = static_cast<std::int32_t>(c);
    for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
      if (ops_[c]->reads_host) TRY(need(c, root(graph_.calls[c].args.front())));
    }
    while (!open_.empty()) {
      const std::size_t c = open_.back();
      open_.pop_back();
      for (ValueId v : tensors_read(c)) TRY(need(c, root(v)));
    }
    find_only();
    return std::move(out_);
  }

 private:
  static std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }
  ValueId root(ValueId v) const { return aliasing_.storage[index(v)]; }

  // Elements of `value`, a root, for the call `reader`.
  Result<void> need(std::size_t reader, ValueId value) {
    const auto input = std::ranges::find(graph_.inputs, value);
    if (input != graph_.inputs.end()) {
      out_.inputs[static_cast<std::size_t>(input - graph_.inputs.begin())] = 1;
      return {};
    }
    const TensorInfo& info = *graph_.tensor(value);
    if (info.constant >= 0 && !aliasing_.mutated[index(value)] && !is_floating(info.dtype)) {
      if (std::ranges::find(out_.constants, value) == out_.constants.end())
        out_.constants.push_back(value);
      return {};
    }
    const std::int32_t writer = writer_[index(value)];
    CHECK_OR_FAIL(writer != kNoCall && info.constant < 0 && !aliasing_.overwritten[index(value)] &&
                      is_host_call(graph_, graph_.calls[index(writer)]),
                  ErrorKind::NotSupported, "call ", reader, " ", graph_.calls[reader].name,
                  ": value ", value, " is computed on the device",
                  writer == kNoCall ? std::string() : cat(" by ", graph_.calls[index(writer)].name),
                  ", but its elements are needed on the host, which computes with integers of the "
                  "inputs alone; give the number as an input");
    if (!std::exchange(out_.calls[index(writer)], std::uint8_t{1})) open_.push_back(index(writer));
    return {};
  }

  // Tensors among a call's arguments and in their lists.
  std::vector<ValueId> tensors_read(std::size_t c) const {
    std::vector<ValueId> out;
    const std::vector<ValueId>& args = graph_.calls[c].args;
    const auto add = [&](ValueId v) {
      if (graph_.tensor(v)) out.push_back(v);
    };
    for (std::size_t a = 0; a + 1 < args.size(); ++a) {
      add(args[a]);
      if (const auto* list = std::get_if<ValueList>(&graph_.value(args[a])))
        std::ranges::for_each(list->items, add);
    }
    return out;
  }

  void find_only() {
    std::vector<std::uint8_t> on_device(graph_.values.size(), 0);  // by root
    for (ValueId v : graph_.outputs) on_device[index(root(v))] = 1;
    for (std::size_t c = graph_.calls.size(); c-- > 0;) {
      out_.only[c] = out_.calls[c] && !on_device[index(root(graph_.calls[c].args.back()))];
      if (out_.only[c] || ops_[c]->reads_host) continue;
      for (ValueId v : tensors_read(c)) on_device[index(root(v))] = 1;
    }
  }

  const Graph& graph_;
  std::span<const Op* const> ops_;
  const Aliasing& aliasing_;
  std::vector<std::int32_t> writer_;  // by ValueId
  std::vector<std::size_t> open_;     // calls to evaluate, whose arguments are not looked at yet
  HostReads out_;
};

}  // namespace

Result<HostReads> find_host_reads(const Graph& graph, std::span<const Op* const> ops,
                                  const Aliasing& aliasing) {
  return HostReader(graph, ops, aliasing).run();
}

Result<HostElements> evaluate(const Graph& graph, const Call& call, const LiveState& live,
                              std::span<const ValueId> storage,
                              std::span<const HostElements> elements) {
  const HostCall c(graph, call, live, storage, elements);
  HostElements out;
  if (const auto* two = find<TwoName>(kTwo, call.name)) {
    out = evaluate_two(c, two->apply, two->has_alpha);
  } else if (const auto* one = find<OneName>(kOne, call.name)) {
    out = evaluate_one(c, one->apply);
  } else {
    TRY_ASSIGN(out, find<OtherName>(kOther, call.name)->evaluate(c));
  }
  const DType dtype = graph.tensor(call.args.back())->dtype;
  for (Item& item : out) item = stored(item, dtype);
  return out;
}

}  // namespace etwebgpu
