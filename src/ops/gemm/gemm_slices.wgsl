// Matrix product of a size whose tiles would be too few to keep a GPU busy, each with a long way along K. A workgroup
// owns ROWS rows x LANES x 4 neighbouring columns and splits K into SLICES interleaved slices, as gemv does for one
// row: nothing is staged but rows where STAGED, and an invocation has but a few steps. The slices are then summed,
// first within subgroups.
#param ROWS
#param MATS : 1 | 2    // 2 if GATED
#param LOADS           // words of a step
#param HALVES          // groups of four elements of K in a step
#param WG              // LANES * SLICES; at least ROWS * LANES
#param LANES           // a power of two
#param SLICES
#param RUN             // neighbours that are surely in one subgroup, at least LANES; 0: no subgroups
#param SUMS            // of an output, to be joined: WG / RUN, or SLICES
#if RUN != 0
#requires subgroups
#endif
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

const OUTPUTS = ${ROWS}u * ${LANES}u;
#repeat M MATS
var<workgroup> partial${M}: array<F4, ${SUMS}u * OUTPUTS>;
#endrepeat
#if NORM
var<workgroup> partial_square: array<f32, ${SUMS}u * OUTPUTS>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.blocks * params.row_blocks) {
    return;
  }
  let block = group / params.row_blocks;
  let first_row = (group - block * params.row_blocks) * ${ROWS}u;
  let local_quad = block * ${LANES}u + index % ${LANES}u;
  let slice = index / ${LANES}u;
#if STAGED
  stage_rows(first_row, params.rows - 1u, index);
#endif
#repeat R ROWS
  let row${R} = find_row(min(first_row + ${R}u, params.rows - 1u));
#if NORM
  var square${R} = 0.0;
#endif
#endrepeat
#repeat M MATS
  let panel${M} = local_quad / 16u + params.pair_panels * ${M}u;
  let base${M} = panel${M} * params.words * 16u + local_quad % 16u;
#repeat R ROWS
  var total${M}_${R} = F4(0.0);
#endrepeat
#endrepeat
  for (var step = slice; step < params.steps; step += ${SLICES}u) {
#repeat M MATS
#repeat L LOADS
    let q${M}_${L}_0 = weights[base${M} + (step * ${LOADS}u + ${L}u) * 16u];
#endrepeat
#repeat R ROWS
    var sum${M}_${R} = F4(0.0);
#endrepeat
#endrepeat
#repeat U 1
#include "gemv_step.wgsl"
#endrepeat
#repeat M MATS
#if SCALES
    let scale${M} = scale_quad(panel${M}, local_quad % 16u, step / params.group_steps);
#else
    const scale${M} = 1.0;
#endif
#repeat R ROWS
    total${M}_${R} += sum${M}_${R} * scale${M};
#endrepeat
#endrepeat
  }

#if RUN != 0
  for (var stride = ${LANES}u; stride < ${RUN}u; stride *= 2u) {
#repeat R ROWS
#repeat M MATS
    total${M}_${R} += subgroupShuffleXor(total${M}_${R}, stride);
#endrepeat
#if NORM
    square${R} += subgroupShuffleXor(square${R}, stride);
#endif
#endrepeat
  }
  let holds_sum = index % ${RUN}u < ${LANES}u;
  let at = index / ${RUN}u * OUTPUTS + index % ${LANES}u;
#else
  const holds_sum = true;
  let at = slice * OUTPUTS + index % ${LANES}u;
#endif
  if (holds_sum) {
#repeat R ROWS
#repeat M MATS
    partial${M}[at + ${R}u * ${LANES}u] = total${M}_${R};
#endrepeat
#if NORM
    partial_square[at + ${R}u * ${LANES}u] = square${R};
#endif
#endrepeat
  }
  workgroupBarrier();
  let row = first_row + index / ${LANES}u;
  if (index >= OUTPUTS || row >= params.rows) {
    return;
  }
#repeat M MATS
  var sum${M} = F4(0.0);
#endrepeat
  var square = 0.0;
  for (var s = index; s < ${SUMS}u * OUTPUTS; s += OUTPUTS) {
#repeat M MATS
    sum${M} += partial${M}[s];
#endrepeat
#if NORM
    square += partial_square[s];
#endif
  }
#if NORM
  let norm = inverseSqrt(square / f32(params.k) + params.eps);
#else
  const norm = 1.0;
#endif
  let quad = params.first_panel * 16u + local_quad;
#if GATED
  finish(row, quad, sum0 * norm, sum1 * norm);
#else
  finish(row, quad, sum0 * norm, F4(0.0));
#endif
}
