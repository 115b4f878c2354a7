// The results of a matrix product from the sums of gemm_matrices: [split][row of the tiles][column of
// the tiles]. One invocation per four columns of a row.
#param WG
#param MATS : 1 | 2  // 2 if GATED
#param TILE          // rows of a tile
#param COLUMN_QUADS  // of a tile
#param SPLITS
#param X_TERMS : 1 | 2  // as for gemm_matrices: 2, sums are relative to their row's factor
#param W_TERMS : 1 | 2  // and to their column's
#param SQUARES = 0 : 0 | 1  // sums are of rows that are yet to be normed
#include "gemm_shape.wgsl"
#include "gemm_results.wgsl"
@group(0) @binding(sums) var<storage, read> sums: array<F4>;
#if X_TERMS == 2
@group(0) @binding(factors) var<storage, read> factors: array<F4>;  // by row of the tiles, then by column
#endif

#if SQUARES
@group(0) @binding(squares) var<storage, read> squares: array<f32>;  // of a row's elements, [split][row of the tiles]
#endif

// What sums of a row and of four columns, relative to both, are themselves.
fn unscaled(sums_of_four: F4, row: u32, quad: u32) -> F4 {
#if X_TERMS == 2
  let of_row = factors[row / 4u][row % 4u];
#if W_TERMS == 2
  // Powers of two: neither their product nor what is between may leave a float's range unless the result does.
  let of_columns = factors[params.row_blocks * ${TILE}u / 4u + quad];
  let apart = (of_columns < F4(1.0)) != vec4<bool>(of_row < 1.0);
  return select(sums_of_four * of_row * of_columns, sums_of_four * (of_row * of_columns), apart);
#else
  return sums_of_four * of_row;
#endif
#elif SQUARES
  var square = 0.0;
#repeat S SPLITS
  square += squares[${S}u * params.row_blocks * ${TILE}u + row];
#endrepeat
  return sums_of_four * inverseSqrt(square / f32(params.k) + params.eps);
#else
  return sums_of_four;
#endif
}

fn sum(row: u32, at: u32) -> F4 {
  let pitch = params.blocks * ${COLUMN_QUADS}u;
  let first = row * pitch + at;
  let apart = params.row_blocks * ${TILE}u * pitch;
  var total = F4(0.0);
#repeat S SPLITS
  total += sums[first + ${S}u * apart];
#endrepeat
  return total;
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let item = (wid.y * grid.x + wid.x) * ${WG}u + index;
  let quads = params.blocks * ${COLUMN_QUADS}u / ${MATS}u;
  let row = item / quads;
  let quad = item % quads;
  if (row >= params.rows) {
    return;
  }
  let all = params.first_panel * 16u + quad;
#if GATED
  const HALF = ${COLUMN_QUADS}u / 2u;
  let at = quad / HALF * ${COLUMN_QUADS}u + quad % HALF;
  finish(row, all, unscaled(sum(row, at), row, all),
         unscaled(sum(row, at + HALF), row, all + params.pair_panels * 16u));
#else
  finish(row, all, unscaled(sum(row, quad), row, all), F4(0.0));
#endif
}
