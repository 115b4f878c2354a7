// Matrix product for one row on a software adapter: an invocation owns SETS x 4 output columns (of a gate and its
// up, if GATED), as in gemm_lanes. Lanes share x: each fetches four elements, since a load goes lane by lane.
#param WG
#param SETS : 1 | 2
#param LANES : 0 | 4 | 8  // as in gemm_lanes
#param WHOLE : 0 | 1      // lanes suffice for x of a scale group and shuffle; 0: for a step
#if LANES
#requires subgroups
#endif
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
#if LANES
        @builtin(subgroup_invocation_id) subgroup_lane: u32,
#endif
        @builtin(local_invocation_index) column: u32) {
  let block = wid.y * grid.x + wid.x;
  if (block >= params.blocks) {
    return;
  }
#if STAGED
  stage_rows(0u, 0u, column);
#endif
#if LANES
  let lane = subgroup_lane % ${LANES}u;
#endif
  let row = find_row(0u);
#include "gemm_lanes_place.wgsl"
#repeat S SETS
  var total${S} = F4(0.0);
#endrepeat
#if NORM
  var square = 0.0;
#endif
  for (var group = 0u; group < params.groups; group++) {
#repeat S SETS
    var sum${S} = F4(0.0);
#endrepeat
    let begin = group * params.group_steps;
    let end = begin + params.group_steps;
#if WHOLE
    let first = begin;
    let count = params.group_steps;
#include "gemv_lanes_fetch.wgsl"
#endif
    for (var step = begin; step < end; step++) {
#if WHOLE == 0
      let first = step;
      let count = 1u;
#include "gemv_lanes_fetch.wgsl"
#endif
#include "gemm_lanes_weights.wgsl"
#repeat F HALVES
      {
#if LANES == 0
        let quad = step * ${HALVES}u + ${F}u;
        var x0 = row_quad(row, quad);
#if NORM
        square += dot(x0, x0);
        x0 *= norm_weight[quad];
#endif
        x0 *= PLACES;
#endif
#repeat E 4
        {
#if LANES == 0
          let element = x0[${E}];
#else
#if WHOLE
          let element = subgroupShuffle(x0[${E}], (step - begin) * ${HALVES}u + ${F}u);
#else
          let element = subgroupBroadcast(x0[${E}], ${F}u);
#endif
#endif
#repeat S SETS
          sum${S} += element * w${S}_${F}_${E};
#endrepeat
        }
#endrepeat
      }
#endrepeat
    }
#repeat S SETS
#if SCALES
    total${S} += sum${S} * scale_quad(panel${S}, quad${S} % 16u, group);
#else
    total${S} += sum${S};
#endif
#endrepeat
  }
#if NORM
#if LANES
  var squares = 0.0;
#repeat L LANES
  squares += subgroupBroadcast(square, ${L}u);
#endrepeat
#else
  let squares = square;
#endif
  let norm = inverseSqrt(squares / f32(params.k) + params.eps);
#else
  const norm = 1.0;
#endif
  let first_quad = params.first_panel * 16u;
#if GATED
  finish(0u, first_quad + quad0, total0 * norm, total1 * norm);
#else
#repeat S SETS
  finish(0u, first_quad + quad${S}, total${S} * norm, F4(0.0));
#endrepeat
#endif
}
