// Linear layer for software adapters: an invocation owns ROWS rows and four neighbouring output columns,
// a workgroup one panel. No barriers: a CPU runs neighbouring invocations as SIMD lanes, and each weight
// is converted once for all its rows.
// Parameters: those of linear_params and linear_step, ROWS.
#if XLANES
#requires subgroups
#endif
#include "linear_params.wgsl"
#if WEIGHT == f16
#include "linear_half.wgsl"
#endif

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
#if XLANES
        @builtin(subgroup_invocation_id) lane: u32,
#endif
        @builtin(local_invocation_index) column: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.blocks * params.row_blocks) {
    return;
  }
  // Workgroups of one panel follow each other: its weights stay in the cache.
  let block = group / params.row_blocks;
  let first_row = (group - block * params.row_blocks) * ${ROWS}u;
#repeat R ROWS
  let row${R} = min(first_row + ${R}u, params.rows - 1u) * (params.k / 4u);
#if NORM
  var square${R} = 0.0;
#endif
#endrepeat
#repeat M MATS
  let base${M} = (block + params.pair_panels * ${M}u) * params.words * 16u + column;
#if SCALES
  let scale${M} = (block + params.pair_panels * ${M}u) * params.groups * 16u + column;
#endif
#repeat R ROWS
  var total${M}_${R} = F4(0.0);
#endrepeat
#endrepeat
  for (var group = 0u; group < params.groups; group++) {
#repeat M MATS
#repeat R ROWS
    var sum${M}_${R} = F4(0.0);
#endrepeat
#endrepeat
    let end = (group + 1u) * params.group_steps;
    for (var step = group * params.group_steps; step < end; step++) {
#include "linear_step.wgsl"
    }
#repeat M MATS
#if SCALES
    let s${M} = scales[scale${M} + group * 16u];
#repeat R ROWS
    total${M}_${R} += sum${M}_${R} * s${M};
#endrepeat
#else
#repeat R ROWS
    total${M}_${R} += sum${M}_${R};
#endrepeat
#endif
#endrepeat
  }
  let quad = (params.first_panel + block) * 16u + column;
#repeat R ROWS
#if NORM
#if XLANES == 0
  let mean${R} = square${R} / f32(params.k);
#else
  var mean${R} = 0.0;
#repeat L XLANES
  mean${R} += subgroupBroadcast(square${R}, ${L}u);
#endrepeat
  mean${R} /= f32(params.k);
#endif
  let norm${R} = inverseSqrt(mean${R} + params.eps);
#else
  const norm${R} = 1.0;
#endif
  if (first_row + ${R}u < params.rows) {
#if GATED
    finish(first_row + ${R}u, quad, total0_${R} * norm${R}, total1_${R} * norm${R});
#else
    finish(first_row + ${R}u, quad, total0_${R} * norm${R}, F4(0.0));
#endif
  }
#endrepeat
}
