#include "support/cached_attention.h"

namespace etwebgpu::testing {

CachedRows cached_rows(GraphBuilder& b, const Heads& heads, std::int64_t tokens,
                       std::int64_t capacity) {
  const Dims q{heads.batch, tokens, heads.count, heads.dim};
  const Dims k{heads.batch, tokens, heads.kv, heads.dim};
  const auto cache = b.cache({heads.batch, capacity, heads.kv, heads.dim});
  return {b.scalar_input(), b.input(q), b.input(k), b.input(k), cache};
}

CachedRows rotated(GraphBuilder& b, CachedRows rows, ValueId cos, ValueId sin) {
  const auto turned = b.rotate(rows.q, rows.k, cos, sin);
  rows.q = turned.q;
  rows.k = turned.k;
  return rows;
}

CachedRows rotated(GraphBuilder& b, const CachedRows& rows) {
  const Dims q = b.bound(rows.q), table{q[1], q[3] / 2};
  const ValueId cos = b.input(table), sin = b.input(table);
  return rotated(b, rows, cos, sin);
}

CachedRows rotated_halves(GraphBuilder& b, CachedRows rows) {
  const Dims cache = b.bound(rows.cache.k), table{cache[1], cache[3]};
  const ValueId cos = b.constant(table), sin = b.constant(table);
  const auto turned = b.rotate_halves(rows.q, rows.k, cos, sin, rows.position);
  rows.q = turned.q;
  rows.k = turned.k;
  return rows;
}

ValueId cut_table(GraphBuilder& b, const CachedRows& rows, ValueId first) {
  const Dims cache = b.bound(rows.cache.k), q = b.bound(rows.q);
  const ValueId table = b.constant({cache[1], cache[3] / 2});
  return b.call("aten.slice_copy.Tensor", {table, b.number(0), first, b.none(), b.number(1)},
                {q[1], q[3] / 2});
}

ValueId attend(GraphBuilder& b, const CachedRows& rows, ValueId mask) {
  return b.attend(rows.q, rows.k, rows.v, rows.cache, rows.position, mask);
}

ValueId flatten_heads(GraphBuilder& b, ValueId attended) {
  const Dims sizes = b.bound(attended);
  return b.view(attended, {sizes[0], sizes[1], sizes[2] * sizes[3]});
}

}  // namespace etwebgpu::testing
