// Graphs of the format, written call by call as an exporter would.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace etwebgpu::testing {

class CallBuilder {
 public:
  Graph graph;

  ValueId tensor(const Dims& bound, DType dtype = DType::Float32) {
    return graph.add(TensorInfo{.dtype = dtype, .host_dtype = dtype, .bound = bound});
  }
  ValueId input(const Dims& bound, DType dtype = DType::Float32) {
    return graph.inputs.emplace_back(tensor(bound, dtype));
  }
  // A live scalar that the host gives.
  ValueId scalar_input() { return graph.inputs.emplace_back(graph.add(SymInt{})); }
  // A constant with a key of its own.
  ValueId constant(const Dims& bound, DType dtype = DType::Float32) {
    const auto bytes = static_cast<std::uint64_t>(bound.numel()) * byte_size(dtype);
    graph.constants.push_back({.key = cat("constant ", graph.constants.size()), .length = bytes});
    const ValueId id = tensor(bound, dtype);
    std::get<TensorInfo>(graph.value(id)).constant =
        static_cast<std::int32_t>(graph.constants.size()) - 1;
    return id;
  }
  ValueId number(std::int64_t value) { return graph.add(value); }
  ValueId number(int value) { return number(std::int64_t{value}); }
  ValueId number(double value) { return graph.add(value); }
  ValueId flag(bool value) { return graph.add(value); }
  ValueId ints(std::vector<std::int64_t> items) { return graph.add(IntList{std::move(items)}); }
  ValueId list(std::vector<ValueId> items) { return graph.add(ValueList{std::move(items)}); }
  ValueId text(std::string value) { return graph.add(std::move(value)); }
  ValueId none() { return graph.add(std::monostate{}); }
  void output(ValueId value) { graph.outputs.push_back(value); }

  // Appends a call that writes `out`, and returns that.
  ValueId call(std::string name, std::vector<ValueId> args, ValueId out) {
    args.push_back(out);
    const auto node = static_cast<std::uint32_t>(graph.calls.size());
    graph.calls.push_back({.name = std::move(name), .args = std::move(args), .node_id = node});
    return out;
  }
  ValueId call(std::string name, std::vector<ValueId> args, const Dims& out,
               DType dtype = DType::Float32) {
    return call(std::move(name), std::move(args), tensor(out, dtype));
  }

  ValueId add(ValueId a, ValueId b) {
    return call("aten.add.Tensor", {a, b, number(std::int64_t{1})}, bound(a));
  }
  ValueId multiply(ValueId a, ValueId b) { return call("aten.mul.Tensor", {a, b}, bound(a)); }
  // x as `sizes`, where extents of `rows` are as many as the scalar `length` says.
  ValueId view(ValueId x, const Dims& sizes, std::int64_t rows, ValueId length) {
    std::vector<ValueId> extents;
    for (const std::int64_t extent : sizes)
      extents.push_back(extent == rows ? length : number(extent));
    return call("aten.view_copy.default", {x, list(std::move(extents))}, sizes);
  }

  // A copy: values move when calls are added.
  Dims bound(ValueId value) const { return graph.tensor(value)->bound; }
};

}  // namespace etwebgpu::testing
