// Matrix product on a GPU: a workgroup computes a 32 x 32 tile, staging 32 elements of K at a time; an
// invocation sums 4 rows x 4 columns.
#include "matmul_common.wgsl"

var<workgroup> tile_x: array<vec4<f32>, 256>;  // [k][four rows]
var<workgroup> tile_y: array<vec4<f32>, 256>;  // [k][four columns]

fn load_x(batch: u32, row: u32, k: u32) -> f32 {
  let safe = x_at(batch * params.m * params.k, min(row, params.m - 1u), min(k, params.k - 1u));
  return select(0.0, x[safe], k < params.k);
}

fn load_y(batch: u32, k: u32, column: u32) -> f32 {
  let element = y_element(batch, min(k, params.k - 1u), min(column, params.n - 1u));
  return select(0.0, element, k < params.k);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  let per_batch = params.row_blocks * params.column_blocks;
  let batch = group / per_batch;
  if (batch >= params.batch) {
    return;
  }
  let first_row = group % per_batch / params.column_blocks * 32u;
  let first_column = group % per_batch % params.column_blocks * 32u;
  let tx = index % 8u;
  let ty = index / 8u;
#repeat I 4
  var sum${I} = vec4<f32>(0.0);
#endrepeat
  for (var first = 0u; first < params.k; first += 32u) {
    for (var i = index; i < 256u; i += 64u) {
      // Neighbouring invocations read neighbouring memory.
#if X_TRANSPOSED
      let k = i / 8u;
      let row_quad = i % 8u;
#else
      let k = i % 32u;
      let row_quad = i / 32u;
#endif
      let row = first_row + row_quad * 4u;
      tile_x[k * 8u + row_quad] =
          vec4<f32>(load_x(batch, row, first + k), load_x(batch, row + 1u, first + k),
                    load_x(batch, row + 2u, first + k), load_x(batch, row + 3u, first + k));
      let yk = select(i / 8u, i % 32u, Y_ALONG_K);
      let quad = select(i % 8u, i / 32u, Y_ALONG_K);
      let column = first_column + quad * 4u;
      tile_y[yk * 8u + quad] =
          vec4<f32>(load_y(batch, first + yk, column), load_y(batch, first + yk, column + 1u),
                    load_y(batch, first + yk, column + 2u), load_y(batch, first + yk, column + 3u));
    }
    workgroupBarrier();
    for (var k = 0u; k < 32u; k++) {
      let a = tile_x[k * 8u + ty];
      let b = tile_y[k * 8u + tx];
#repeat I 4
      sum${I} += a[${I}] * b;
#endrepeat
    }
    workgroupBarrier();
  }
#repeat I 4
#repeat J 4
  finish(batch, first_row + ty * 4u + ${I}u, first_column + tx * 4u + ${J}u, sum${I}[${J}]);
#endrepeat
#endrepeat
}
