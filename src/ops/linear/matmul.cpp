#include "ops/linear/matmul.h"

#include <algorithm>
#include <numeric>

namespace etwebgpu {
namespace {

// Batches whose matrices fit bindings, in numbers that suit every alignment.
std::int64_t batches_per_binding(const LowerContext& c, const Matmul& p) {
  constexpr std::int64_t kUnit = 64;  // elements whose bytes suit every alignment
  const std::int64_t limit = storage_elements(Storage::F32, c.capabilities().max_storage_binding);
  const std::int64_t sizes[] = {p.m * p.k, p.k * p.n, p.m * p.n};
  std::int64_t unit = 1, most = p.batch;
  for (std::int64_t size : sizes) {
    if (size == 0) continue;
    unit = std::lcm(unit, kUnit / std::gcd(kUnit, size));
    most = std::min(most, limit / size);
  }
  return most >= p.batch ? p.batch : std::max(most / unit * unit, unit);
}

ByteRange batch_range(std::int64_t first, std::int64_t count, std::int64_t batch,
                      std::int64_t size) {
  if (count == batch) return {};
  return elements_range(first * size, count * size);
}

struct MatmulRoute : Route {
  std::int64_t rows, columns;  // of a workgroup
};

// matmul_tiles stages 32 x 32; an invocation of matmul_columns computes 4 x 4 with 16 of them side
// by side.
MatmulRoute matmul_route(const LowerContext& c) {
  if (c.is_software()) return {{.kernel = "matmul_columns"}, 4, 64};
  return {{.kernel = "matmul_tiles"}, 32, 32};
}

void read_y(KernelCall& k, const Matmul& p, ByteRange range) {
  if (!p.weight) {
    k.read("y", p.y, range);
    return;
  }
  k.read("weights", p.weight->weights).read("scales", p.weight->scales);
  k.params({{"words", p.weight->words},
            {"groups", p.weight->groups},
            {"group_size", p.weight->group_size}});
}

void emit_batches(LowerContext& c, const Matmul& p, std::int64_t first, std::int64_t count) {
  const MatmulRoute route = matmul_route(c);
  KernelCall& k = c.emit(route);
  if (p.x_transposed) k.define("X_TRANSPOSED", 1);
  p.weight ? k.define("Y", "matmul_y_groups") : k.define("TRANSPOSED", p.y_transposed ? 1 : 0);
  k.define("BIAS", p.bias ? 1 : 0);
  const auto range = [&](std::int64_t size) { return batch_range(first, count, p.batch, size); };
  k.read("x", p.x, range(p.m * p.k));
  read_y(k, p, range(p.k * p.n));
  if (p.bias) k.read("bias", *p.bias);
  k.write("out", p.out, range(p.m * p.n));
  const std::int64_t row_blocks = div_up(p.m, route.rows),
                     column_blocks = div_up(p.n, route.columns);
  k.params({{"batch", count},
            {"m", p.m},
            {"k", p.k},
            {"n", p.n},
            {"row_blocks", row_blocks},
            {"column_blocks", column_blocks},
            {"alpha", p.alpha},
            {"beta", p.beta},
            {"bias_row", p.bias_row},
            {"bias_column", p.bias_column}});
  k.groups(count * row_blocks * column_blocks);
}

}  // namespace

void emit_matmul(LowerContext& c, const Matmul& p) {
  if (p.batch * p.m * p.n == 0) return;
  const std::int64_t step = batches_per_binding(c, p);
  for (std::int64_t first = 0; first < p.batch; first += step)
    emit_batches(c, p, first, std::min(step, p.batch - first));
}

}  // namespace etwebgpu
