// Graphs written call by call, as an exporter would.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ir/graph.h"

namespace etwebgpu::testing {

// A value of the graph under construction.
struct Ref {
  ValueId id = kNoValue;
};
using Refs = std::vector<Ref>;
using Ints = std::vector<std::int64_t>;
struct None {};

// An argument: a value that exists, or what becomes one.
using Argument = std::variant<Ref, Refs, None, bool, std::int64_t, double, std::string, Ints>;

class GraphCalls {
 public:
  Graph graph;

  Ref input(const Dims& sizes, DType dtype = DType::Float32) {
    const Ref made = tensor(sizes, dtype);
    graph.inputs.push_back(made.id);
    return made;
  }
  // A SymInt that the host gives.
  Ref scalar_input() {
    graph.inputs.push_back(graph.add(SymInt{}));
    return {graph.inputs.back()};
  }
  Ref constant(const Dims& sizes, DType dtype = DType::Float32) {
    const auto bytes = static_cast<std::uint64_t>(sizes.numel()) * byte_size(dtype);
    graph.constants.push_back({.key = "constant", .length = bytes});
    const Ref made = tensor(sizes, dtype);
    std::get<TensorInfo>(graph.value(made.id)).constant =
        static_cast<std::int32_t>(graph.constants.size()) - 1;
    return made;
  }
  Ref tensor(const Dims& sizes, DType dtype = DType::Float32) {
    return {graph.add(TensorInfo{.dtype = dtype, .host_dtype = dtype, .bound = sizes})};
  }

  // A call with one output of these sizes, or with outputs made before.
  Ref call(std::string name, const std::vector<Argument>& arguments, const Dims& sizes,
           DType dtype = DType::Float32) {
    const Ref out = tensor(sizes, dtype);
    append(std::move(name), arguments, out.id);
    return out;
  }
  void call_into(std::string name, const std::vector<Argument>& arguments, const Refs& outputs) {
    append(std::move(name), arguments, id_of(outputs));
  }

  void output(Ref value) { graph.outputs.push_back(value.id); }
  const Dims& sizes(Ref value) const { return graph.tensor(value.id)->bound; }

 private:
  void append(std::string name, const std::vector<Argument>& arguments, ValueId output) {
    Call made;
    made.name = std::move(name);
    for (const Argument& argument : arguments) made.args.push_back(id_of(argument));
    made.args.push_back(output);
    graph.calls.push_back(std::move(made));
  }
  ValueId id_of(const Argument& argument) {
    return std::visit([this](const auto& a) { return id_of(a); }, argument);
  }
  ValueId id_of(Ref value) { return value.id; }
  ValueId id_of(const Refs& values) {
    ValueList list;
    for (const Ref value : values) list.items.push_back(value.id);
    return graph.add(std::move(list));
  }
  ValueId id_of(None) { return graph.add(std::monostate{}); }
  ValueId id_of(const Ints& items) { return graph.add(IntList{items}); }
  template <typename T>
  ValueId id_of(const T& plain) {
    return graph.add(Value{plain});
  }
};

}  // namespace etwebgpu::testing
