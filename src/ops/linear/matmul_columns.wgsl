// Matrix product for software adapters: an invocation computes 4 rows x 4 columns, without barriers.
#include "matmul_common.wgsl"

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * grid.x + wid.x;
  let per_batch = params.row_blocks * params.column_blocks;
  let batch = group / per_batch;
  if (batch >= params.batch) {
    return;
  }
  let block = group % per_batch;
  // Neighbouring invocations own neighbouring columns.
  let first_column = block / params.row_blocks * 64u + lane;
  let first_row = block % params.row_blocks * 4u;
  let x_base = batch * params.m * params.k;
#repeat I 4
  let row${I} = min(first_row + ${I}u, params.m - 1u);
  let column${I} = min(first_column + ${I}u * 16u, params.n - 1u);
  var sum${I} = vec4<f32>(0.0);
#endrepeat
  for (var k = 0u; k < params.k; k++) {
    let v = vec4<f32>(y_element(batch, k, column0), y_element(batch, k, column1),
                      y_element(batch, k, column2), y_element(batch, k, column3));
#repeat I 4
    sum${I} += x[x_at(x_base, row${I}, k)] * v;
#endrepeat
  }
#repeat I 4
#repeat J 4
  finish(batch, first_row + ${I}u, first_column + ${J}u * 16u, sum${I}[${J}]);
#endrepeat
#endrepeat
}
