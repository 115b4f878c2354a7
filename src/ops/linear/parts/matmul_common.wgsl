// out[b] = alpha * x[b] @ y[b] + beta * bias: what matmul_tiles and matmul_columns share.
#param X_TRANSPOSED = 0 : 0 | 1  // x is [batch, k, m], not [batch, m, k]
// Where y comes from: gives y_element(batch, k, column), and Y_ALONG_K, whether neighbours in memory are so along k.
#param Y = matmul_y_plain : matmul_y_plain | matmul_y_groups
#param BIAS : 0 | 1
//   bias_row  strides of the broadcast bias
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
#include ${Y}
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<f32>;
#endif
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

// Element (row, k) of a batch's x, which begins at `base`.
fn x_at(base: u32, row: u32, k: u32) -> u32 {
#if X_TRANSPOSED
  return base + k * params.m + row;
#else
  return base + row * params.k + k;
#endif
}

fn finish(batch: u32, row: u32, column: u32, sum: f32) {
  if (row < params.m && column < params.n) {
#if BIAS
    let added = params.beta * bias[row * params.bias_row + column * params.bias_column];
#else
    let added = 0.0;
#endif
    out[(batch * params.m + row) * params.n + column] = params.alpha * sum + added;
  }
}
