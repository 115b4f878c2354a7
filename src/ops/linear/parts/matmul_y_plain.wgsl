// y as it lies in memory.
#param TRANSPOSED : 0 | 1  // y is [batch, n, k], not [batch, k, n]
#if TRANSPOSED
const Y_ALONG_K = true;
#else
const Y_ALONG_K = false;
#endif
@group(0) @binding(y) var<storage, read> y: array<f32>;

fn y_element(batch: u32, k: u32, column: u32) -> f32 {
  let base = batch * params.k * params.n;
#if TRANSPOSED
  return y[base + column * params.k + k];
#else
  return y[base + k * params.n + column];
#endif
}
