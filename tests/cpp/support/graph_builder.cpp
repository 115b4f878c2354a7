#include "support/graph_builder.h"

namespace etwebgpu::testing {

ValueId GraphBuilder::value(Value value) { return graph.add(std::move(value)); }

ValueId GraphBuilder::constant(const Dims& bound, DType dtype) {
  const auto index = static_cast<std::int32_t>(graph.constants.size());
  const auto bytes = static_cast<std::uint64_t>(bound.numel()) * byte_size(dtype);
  graph.constants.push_back({.key = cat("constant ", index), .length = bytes});
  return graph.add(
      TensorInfo{.dtype = dtype, .host_dtype = dtype, .bound = bound, .constant = index});
}

ValueId GraphBuilder::call(std::string name, std::vector<ValueId> args, ValueId out) {
  args.push_back(out);
  const auto node = static_cast<std::uint32_t>(graph.calls.size());
  graph.calls.push_back({.name = std::move(name), .args = std::move(args), .node_id = node});
  return out;
}

ValueId GraphBuilder::linear(ValueId x, std::int64_t columns, bool bias, std::int64_t group,
                             DType scales) {
  Dims out = bound(x);
  const std::int64_t depth = out.back();
  out[out.rank() - 1] = columns;
  return call(
      "et_vk.linear_q4gsw.default",
      {x, constant({columns, depth / 2}, DType::UInt8), constant({depth / group, columns}, scales),
       number(group), bias ? constant({columns}) : none()},
      out);
}

ValueId GraphBuilder::token(ValueId x, std::int64_t index) {
  const Dims sizes = bound(x);
  Dims out{sizes[0]};
  for (std::size_t d = 2; d < sizes.rank(); ++d) out.push_back(sizes[d]);
  return call("aten.select_copy.int", {x, number(1), number(index)}, out);
}

ValueId GraphBuilder::view(ValueId x, const Dims& sizes, std::int64_t rows, ValueId length) {
  std::vector<ValueId> extents;
  for (const std::int64_t extent : sizes)
    extents.push_back(extent == rows ? length : number(extent));
  return call("aten.view_copy.default", {x, list(std::move(extents))}, sizes);
}

GraphBuilder::Rotated GraphBuilder::rotate(ValueId q, ValueId k, ValueId cos, ValueId sin) {
  const Rotated out{tensor(bound(q)), tensor(bound(k))};
  call("et_vk.apply_rotary_emb.default", {q, k, cos, sin}, list({out.q, out.k}));
  return out;
}

GraphBuilder::Rotated GraphBuilder::rotate_halves(ValueId q, ValueId k, ValueId cos, ValueId sin,
                                                  ValueId row) {
  const Rotated out{tensor(bound(q)), tensor(bound(k))};
  call("et_vk.apply_rotary_emb_hf.default", {q, k, cos, sin, row}, list({out.q, out.k}));
  return out;
}

GraphBuilder::Cache GraphBuilder::cache(const Dims& sizes) {
  return {constant(sizes), constant(sizes)};
}

ValueId GraphBuilder::attend(ValueId q, ValueId k, ValueId v, const Cache& cache, ValueId position,
                             ValueId mask) {
  const bool causal = mask == kNoValue;
  return call("sdpa_with_kv_cache.default",
              {q, k, v, cache.k, cache.v, position, number(1), causal ? none() : mask, number(0.0),
               flag(causal), none()},
              bound(q));
}

}  // namespace etwebgpu::testing
