// Graphs in memory, written call by call as an exporter would. Bytes of files are
// format_builder.h's.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace etwebgpu::testing {

class GraphBuilder {
 public:
  Graph graph;

  // --- Values ---

  ValueId value(Value value);
  ValueId tensor(const Dims& bound, DType dtype = DType::Float32) {
    return graph.add(TensorInfo{.dtype = dtype, .host_dtype = dtype, .bound = bound});
  }
  // A constant with a key of its own.
  ValueId constant(const Dims& bound, DType dtype = DType::Float32);
  // A live scalar.
  ValueId scalar() { return graph.add(SymInt{}); }
  ValueId number(std::int64_t value) { return graph.add(value); }
  ValueId number(int value) { return number(std::int64_t{value}); }
  ValueId number(double value) { return graph.add(value); }
  ValueId flag(bool value) { return graph.add(value); }
  ValueId ints(std::vector<std::int64_t> items) { return graph.add(IntList{std::move(items)}); }
  ValueId list(std::vector<ValueId> items) { return graph.add(ValueList{std::move(items)}); }
  ValueId text(std::string value) { return graph.add(std::move(value)); }
  ValueId none() { return graph.add(std::monostate{}); }

  // A copy: values move when others are added.
  Dims bound(ValueId value) const { return graph.tensor(value)->bound; }

  // --- Inputs and outputs ---

  ValueId as_input(ValueId value) { return graph.inputs.emplace_back(value); }
  ValueId input(const Dims& bound, DType dtype = DType::Float32) {
    return as_input(tensor(bound, dtype));
  }
  // A live scalar that the host gives.
  ValueId scalar_input() { return as_input(scalar()); }
  void output(ValueId value) { graph.outputs.push_back(value); }

  // --- Calls: each returns what it writes ---

  ValueId call(std::string name, std::vector<ValueId> args, ValueId out);
  ValueId call(std::string name, std::vector<ValueId> args, const Dims& out,
               DType dtype = DType::Float32) {
    return call(std::move(name), std::move(args), tensor(out, dtype));
  }

  ValueId add(ValueId a, ValueId b) { return call("aten.add.Tensor", {a, b, number(1)}, bound(a)); }
  ValueId multiply(ValueId a, ValueId b) { return call("aten.mul.Tensor", {a, b}, bound(a)); }
  ValueId silu(ValueId x) { return multiply(x, call("aten.sigmoid.default", {x}, bound(x))); }
  ValueId rms_norm(ValueId x) {
    return call("et_vk.rms_norm.default", {x, constant({bound(x).back()}), number(1e-5)}, bound(x));
  }
  ValueId prepacked(const Dims& sizes) {
    return call("et_vk.prepack.default", {constant(sizes)}, sizes);
  }
  // Of 4-bit weights, with a scale for each `group` of a row.
  ValueId linear(ValueId x, std::int64_t columns, bool bias = false, std::int64_t group = 32,
                 DType scales = DType::Float32);
  // x[:, index] of x [1, S, ...].
  ValueId token(ValueId x, std::int64_t index);
  ValueId view(ValueId x, const Dims& sizes) {
    return call("aten.view_copy.default", {x, ints({sizes.begin(), sizes.end()})}, sizes);
  }
  // The same where extents of `rows` are as many as the scalar `length` says.
  ValueId view(ValueId x, const Dims& sizes, std::int64_t rows, ValueId length);

  struct Rotated {
    ValueId q, k;
  };
  // Pairs of neighbours are turned, by tables [S, D/2].
  Rotated rotate(ValueId q, ValueId k, ValueId cos, ValueId sin);
  // Elements half a row apart are, by tables [capacity, D] from a row on.
  Rotated rotate_halves(ValueId q, ValueId k, ValueId cos, ValueId sin, ValueId row);

  struct Cache {
    ValueId k, v;
  };
  Cache cache(const Dims& sizes);
  // Attention of q [B, S, heads, D] over the cache, where k and v are written first; causal where
  // there is no mask.
  ValueId attend(ValueId q, ValueId k, ValueId v, const Cache& cache, ValueId position,
                 ValueId mask = kNoValue);
};

}  // namespace etwebgpu::testing
