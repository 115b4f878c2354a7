// Checks a call's arguments against its operator's signature (the little language is described in
// op.h).
#include <cmath>
#include <string>
#include <vector>

#include "ops/op.h"

namespace etwebgpu {
namespace {

struct Kind {
  char code = '_';
  bool nullable = false;
  bool optional = false;
};

struct Signature {
  std::vector<Kind> inputs;
  std::vector<Kind> outputs;
  std::size_t required_inputs() const {
    std::size_t count = 0;
    while (count < inputs.size() && !inputs[count].optional) ++count;
    return count;
  }
};

Signature parse(std::string_view text) {
  Signature out;
  std::vector<Kind>* side = &out.inputs;
  bool optional = false;
  for (char c : text) {
    switch (c) {
      case ' ':
        break;
      case '>':
        side = &out.outputs;
        break;
      case '[':
        optional = true;
        break;
      case ']':
        optional = false;
        break;
      case '?':
        side->back().nullable = true;
        break;
      default:
        side->push_back({c, false, optional});
    }
  }
  return out;
}

std::string_view kind_name(char code) {
  switch (code) {
    case 't':
      return "a tensor";
    case 'i':
      return "an integer";
    case 'f':
      return "a number";
    case 'n':
      return "a tensor or a number";
    case 'l':
      return "a list of integers";
    case 'v':
      return "a list of tensors";
    case 'o':
      return "a list of optional tensors";
    case 's':
      return "a string";
    case 'y':
      return "a SymInt";
    default:
      return "anything";
  }
}

constexpr std::string_view kValueKinds[] = {"None",      "Bool",    "Int",        "Double",
                                            "Tensor",    "IntList", "DoubleList", "BoolList",
                                            "ValueList", "String",  "SymInt"};

// The exporter keeps one value per number, and 1 == 1.0 there: an integer may arrive as a Double.
bool is_integer(const Value& v) {
  if (const auto* d = std::get_if<double>(&v)) {
    constexpr double kExact = 9007199254740992.0;  // 2^53
    return *d >= -kExact && *d <= kExact && *d == std::trunc(*d);
  }
  return std::holds_alternative<std::int64_t>(v) || std::holds_alternative<bool>(v) ||
         std::holds_alternative<SymInt>(v);
}

bool is_number(const Value& v) { return is_integer(v) || std::holds_alternative<double>(v); }

bool is_tensor(const Value& v) { return std::holds_alternative<TensorInfo>(v); }

template <typename Predicate>
bool list_of(const Graph& graph, const Value& v, Predicate predicate) {
  const auto* list = std::get_if<ValueList>(&v);
  if (!list) return false;
  for (ValueId item : list->items) {
    if (!predicate(graph.value(item))) return false;
  }
  return true;
}

bool matches(const Graph& graph, const Value& v, const Kind& kind) {
  if (std::holds_alternative<std::monostate>(v)) return kind.nullable || kind.code == '_';
  switch (kind.code) {
    case 't':
      return is_tensor(v);
    case 'i':
      return is_integer(v);
    case 'f':
      return is_number(v);
    case 'n':
      return is_tensor(v) || is_number(v);
    case 'l':
      return std::holds_alternative<IntList>(v) || list_of(graph, v, is_integer);
    case 'v':
      return is_tensor(v) || list_of(graph, v, is_tensor);
    case 'o':
      return list_of(graph, v, [](const Value& item) {
        return is_tensor(item) || std::holds_alternative<std::monostate>(item);
      });
    case 's':
      return std::holds_alternative<std::string>(v);
    case 'y':
      return std::holds_alternative<SymInt>(v);
    default:
      return true;
  }
}

}  // namespace

Result<void> check_signature(const Op& op, const Graph& graph, const Call& call) {
  const Signature signature = parse(op.signature);
  const std::size_t given = call.args.size();
  const std::size_t outputs = signature.outputs.size();
  const std::size_t least = signature.required_inputs() + outputs;
  const std::size_t most = signature.inputs.size() + outputs;
  CHECK_OR_FAIL(given >= least && given <= most, ErrorKind::InvalidProgram, "expected ",
                least == most ? cat(least) : cat(least, " to ", most), " arguments, found ", given);
  for (std::size_t i = 0; i < given; ++i) {
    const bool is_output = i >= given - outputs;
    const Kind& kind = is_output ? signature.outputs[i - (given - outputs)] : signature.inputs[i];
    const Value& value = graph.value(call.args[i]);
    CHECK_OR_FAIL(matches(graph, value, kind), ErrorKind::InvalidProgram,
                  is_output ? "output" : "argument ", is_output ? std::string() : cat(i),
                  " (value ", call.args[i], ") must be ", kind_name(kind.code),
                  kind.nullable ? " or None" : "", ", found ", kValueKinds[value.index()]);
  }
  return {};
}

}  // namespace etwebgpu
