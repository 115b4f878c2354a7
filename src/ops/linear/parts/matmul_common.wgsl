// out[b] = alpha * x[b] @ y[b] + beta * bias: what matmul_tiles and matmul_columns share.
#param TRANSPOSED : 0 | 1  // y is [batch, n, k], not [batch, k, n]
#param BIAS : 0 | 1
//   bias_row  strides of the broadcast bias
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(y) var<storage, read> y: array<f32>;
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<f32>;
#endif
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

// Element (k, column) of a batch's y, which begins at `base`.
fn y_at(base: u32, k: u32, column: u32) -> u32 {
#if TRANSPOSED
  return base + column * params.k + k;
#else
  return base + k * params.n + column;
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
