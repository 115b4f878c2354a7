#include "plan/call_match.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace etwebgpu {
namespace {

// How alike a passed value and one of the graph are. Hosts widen integers and floats, and sizes of
// outputs are bounds only before the first call.
enum class Likeness : std::uint8_t { Exact, Loose };

bool same_type(DType passed, DType recorded, Likeness likeness) {
  const auto is_integer = [](DType d) { return d == DType::Int32 || d == DType::Int64; };
  if (passed == recorded || (is_integer(passed) && is_integer(recorded))) return true;
  const bool widened = passed == DType::Float64 && recorded == DType::Float32;
  return likeness == Likeness::Exact ? widened : is_floating(passed) && is_floating(recorded);
}

bool is_within(const Dims& sizes, const Dims& bound) {
  return sizes.rank() == bound.rank() &&
         std::equal(sizes.begin(), sizes.end(), bound.begin(), std::less_equal());
}

// Where outputs of the graph can go, each passed one being the next of them or equal to an earlier
// one.
class OutputWays {
 public:
  template <typename Like>
  OutputWays(std::size_t passed, std::size_t recorded, const Like& like)
      : passed_(passed), recorded_(recorded), like_(passed * recorded) {
    for (std::size_t i = 0; i < passed; ++i)
      for (std::size_t o = 0; o < recorded; ++o) like_[i * recorded + o] = like(i, o);
    count();
  }

  bool any() const { return ways(0, 0) > 0; }
  bool several() const { return ways(0, 0) > 1; }

  // The first way; `choice` becomes the first passed output that has another.
  std::vector<std::size_t> first(std::size_t& choice) const {
    std::vector<std::size_t> out;
    choice = passed_;
    for (std::size_t i = 0, next = 0; i < passed_; ++i) {
      std::size_t options = 0;
      std::size_t taken = 0;
      for (std::size_t o = std::min(next + 1, recorded_); o-- > 0;) {
        if (!is_open(i, o, next)) continue;
        if (options++ == 0) taken = o;
      }
      if (options > 1 && choice == passed_) choice = i;
      out.push_back(taken);
      next = std::max(next, taken + 1);
    }
    return out;
  }

 private:
  // Ways for passed outputs from i on, once the graph's first `next` have appeared: 0, 1 or more.
  std::uint8_t ways(std::size_t i, std::size_t next) const {
    return ways_[i * (recorded_ + 1) + next];
  }
  bool is_open(std::size_t i, std::size_t o, std::size_t next) const {
    return like_[i * recorded_ + o] && ways(i + 1, std::max(next, o + 1)) > 0;
  }
  void count() {
    ways_.assign((passed_ + 1) * (recorded_ + 1), 0);
    ways_[passed_ * (recorded_ + 1) + recorded_] = 1;
    for (std::size_t i = passed_; i-- > 0;) {
      int copies = 0;  // earlier outputs that the passed one may equal
      for (std::size_t next = 0; next <= recorded_; ++next) {
        int total = copies * ways(i + 1, next);
        if (next < recorded_ && like_[i * recorded_ + next]) {
          total += ways(i + 1, next + 1);
          copies = std::min(copies + 1, 2);
        }
        ways_[i * (recorded_ + 1) + next] = static_cast<std::uint8_t>(std::min(total, 2));
      }
    }
  }

  std::size_t passed_, recorded_;
  std::vector<std::uint8_t> like_, ways_;
};

class Matcher {
 public:
  Matcher(const Graph& graph, std::span<const PassedValue> passed, Likeness likeness)
      : graph_(graph), passed_(passed), likeness_(likeness) {}

  // Nothing if the values fit in no way.
  Result<std::optional<CallMatch>> match() const {
    for (std::size_t split = graph_.inputs.size(); split <= passed_.size(); ++split) {
      CallMatch found;
      found.first_output = split;
      if (!may_split(split) || !find_inputs(split, found.inputs)) continue;
      const auto like = [&](std::size_t i, std::size_t o) {
        return is_like(split + i, graph_.outputs[o], false);
      };
      const OutputWays ways(passed_.size() - split, graph_.outputs.size(), like);
      if (!ways.any()) continue;
      std::size_t choice = 0;
      found.outputs = ways.first(choice);
      CHECK_OR_FAIL(!ways.several(), ErrorKind::NotSupported, "the call has ", found.outputs.size(),
                    " outputs and the delegate ", graph_.outputs.size(),
                    ": the exporter merged equal ones, and whether output ", choice, " (",
                    describe(passed_[split + choice]),
                    ") is a copy of an earlier one cannot be told; export the model without "
                    "outputs that are copies of others, or through executorch_webgpu.lowering");
      return found;
    }
    return std::nullopt;
  }

 private:
  // True if the values from `split` on may be the call's outputs.
  bool may_split(std::size_t split) const {
    if (passed_.size() - split < graph_.outputs.size()) return false;
    if (split == passed_.size()) return true;
    const auto first = static_cast<std::int64_t>(split);
    for (std::size_t i = 0; i < passed_.size(); ++i) {
      const std::int64_t distance = passed_[i].place - passed_[split].place;
      if (i < split ? distance >= 0 : distance != static_cast<std::int64_t>(i) - first)
        return false;
    }
    return true;
  }

  bool is_like(std::size_t passed, ValueId value, bool is_input) const {
    const PassedValue& given = passed_[passed];
    const TensorInfo* info = graph_.tensor(value);
    if (!info) {  // a SymInt may come as a tensor of one integer
      return !given.is_tensor || (!is_floating(given.dtype) && given.sizes.numel() == 1);
    }
    if (!given.is_tensor || !same_type(given.dtype, info->host_dtype, likeness_)) return false;
    const bool bounded = is_input || likeness_ == Likeness::Loose;
    return bounded ? is_within(given.sizes, info->bound) : given.sizes == info->bound;
  }

  // Each input's candidates lie between the earliest and the latest place that leave room for the
  // others.
  bool find_inputs(std::size_t split, std::vector<std::vector<std::size_t>>& out) const {
    const std::vector<ValueId>& inputs = graph_.inputs;
    std::vector<std::size_t> earliest;
    for (std::size_t p = 0; p < split && earliest.size() < inputs.size(); ++p)
      if (is_like(p, inputs[earliest.size()], true)) earliest.push_back(p);
    if (earliest.size() < inputs.size()) return false;
    out.assign(inputs.size(), {});
    std::size_t after = split;
    for (std::size_t i = inputs.size(); i-- > 0;) {
      std::size_t latest = after;
      for (std::size_t p = earliest[i]; p < after; ++p) {
        if (!is_like(p, inputs[i], true)) continue;
        out[i].push_back(p);
        latest = p;
      }
      after = latest;
    }
    return true;
  }

  const Graph& graph_;
  std::span<const PassedValue> passed_;
  Likeness likeness_;
};

std::string listed(std::span<const PassedValue> values) {
  std::string out;
  for (const PassedValue& value : values) out += cat(out.empty() ? "" : ", ", describe(value));
  return out;
}

std::string listed(const Graph& graph, std::span<const ValueId> values) {
  std::vector<PassedValue> described;
  for (ValueId v : values) {
    const TensorInfo* info = graph.tensor(v);
    described.push_back(info ? PassedValue{true, info->host_dtype, info->bound} : PassedValue());
  }
  return listed(described);
}

}  // namespace

std::string describe(const PassedValue& value) {
  return value.is_tensor ? cat(name(value.dtype), " ", to_string(value.sizes)) : "an integer";
}

Result<CallMatch> match_call(const Graph& graph, std::span<const PassedValue> passed,
                             bool aliased) {
  for (const Likeness likeness : {Likeness::Exact, Likeness::Loose}) {
    TRY_ASSIGN(auto found, Matcher(graph, passed, likeness).match());
    if (found) return *std::move(found);
  }
  // New contents of buffers are outputs that nobody takes.
  const bool has_more = graph.inputs.size() + graph.outputs.size() > passed.size();
  return fail(ErrorKind::InvalidProgram, "the program calls the delegate with ", passed.size(),
              " values (", listed(passed), "), which do not fit its ", graph.inputs.size(),
              " inputs (", listed(graph, graph.inputs), ") and ", graph.outputs.size(),
              " outputs (", listed(graph, graph.outputs), ")",
              has_more && !aliased
                  ? "; a model with mutable buffers needs the partitioner's option "
                    "alias_buffer_mutations"
                  : "");
}

}  // namespace etwebgpu
