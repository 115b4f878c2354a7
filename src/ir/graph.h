// The delegated graph as plain data: values, calls in execution order, inputs, outputs, constants.
// Everything in a Graph that came from a file has been verified by format/: ids are in range, lists
// do not contain themselves, dims do not overflow.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"

namespace etwebgpu {

using ValueId = std::int32_t;
inline constexpr ValueId kNoValue = -1;

struct TensorInfo {
  DType dtype = DType::Float32;
  DType host_dtype = DType::Float32;  // at the graph's edge; f32 around a program forced to f16
  Dims bound;                         // recorded sizes: the upper bound where they are dynamic
  std::int32_t constant = -1;         // index into Graph::constants, or -1 for an activation
  std::int32_t file_constant = -1;    // the same as written: equal contents share the one above
  std::int32_t mem_object = -1;  // the exporter's lifetime-sharing plan; kept for comparison only
};

struct IntList {
  std::vector<std::int64_t> items;
};
struct DoubleList {
  std::vector<double> items;
};
struct BoolList {
  std::vector<bool> items;
};
struct ValueList {
  std::vector<ValueId> items;
};
struct SymInt {};  // a live scalar; its value exists only at run time

using Value = std::variant<std::monostate, bool, std::int64_t, double, TensorInfo, IntList,
                           DoubleList, BoolList, ValueList, std::string, SymInt>;

// A call as the program has it.
struct CallOrigin {
  std::string name;
  std::uint32_t node_id = 0;
  bool operator==(const CallOrigin&) const = default;
};

struct Call {
  std::string name;           // as serialized, e.g. "aten.add.Tensor"; passes add "fused.*"
  std::vector<ValueId> args;  // inputs in schema order, output last
  std::uint32_t node_id = 0;  // the exporter's debug handle
  std::vector<CallOrigin> covers =
      {};  // of a fused call: those it stands for, in the program's order
};

// Makes `fused` stand for `other`, too, or for what that stands for.
void cover(Call& fused, const Call& other);

// A constant of floats that the host makes of others when they are uploaded: (element - zero point)
// * scale, with a scale and a zero point for each block of the elements.
struct Dequantized {
  DType dtype = DType::Float32;
  TensorInfo elements = {}, scales = {};
  std::optional<TensorInfo> zero_points = {};  // else all are zero_point
  std::int64_t zero_point = 0;
  Dims blocks = {};  // sizes of a block; they divide those of the elements
};

// Bytes of a constant: in the host's named data when `key` is set, else inside the delegate blob.
// Passes add those that are made.
struct Constant {
  std::string key = {};
  std::uint64_t offset = 0;  // into the blob's constant section; unused with a key
  std::uint64_t length = 0;
  std::optional<Dequantized> made = {};
  std::optional<float> fill = {};  // of f32 elements, all of them
};

struct Graph {
  std::string version;
  std::vector<Value> values;
  std::vector<Call> calls;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::vector<Constant> constants;

  const Value& value(ValueId id) const { return values[static_cast<std::size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<std::size_t>(id)]; }
  const TensorInfo* tensor(ValueId id) const { return std::get_if<TensorInfo>(&value(id)); }
  bool is_symint(ValueId id) const { return std::holds_alternative<SymInt>(value(id)); }
  bool is_none(ValueId id) const { return std::holds_alternative<std::monostate>(value(id)); }
  bool is_int(ValueId id, std::int64_t wanted) const {
    const auto* number = std::get_if<std::int64_t>(&value(id));
    return number && *number == wanted;
  }
  template <typename T>
  ValueId add(T&& v) {
    values.emplace_back(std::forward<T>(v));
    return static_cast<ValueId>(values.size() - 1);
  }
};

}  // namespace etwebgpu
