// Linear layer for one row on a GPU. A workgroup owns LANES x 4 neighbouring output columns and splits K
// into SLICES interleaved slices, so that neighbouring lanes read neighbouring 16-byte vectors of a panel;
// the slices are then summed, first within subgroups if SUBGROUPS.
// Parameters: those of linear_params and linear_step (ROWS = 1, XLANES = 0), LANES (4, 8 or 16), SLICES,
// WG (LANES * SLICES), UNROLL (steps between scales: a divisor of the steps, and of a group's),
// SUBGROUPS (their linear order of invocations is relied on).
#if SUBGROUPS
#requires subgroups
#endif
#include "linear_params.wgsl"
#if WEIGHT == f16
#include "linear_half.wgsl"
#endif

#repeat M MATS
var<workgroup> partial${M}: array<F4, ${WG}>;
#endrepeat
#if NORM
var<workgroup> partial_square: array<f32, ${WG}>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
#if SUBGROUPS
        @builtin(subgroup_size) subgroup_size: u32,
#endif
        @builtin(local_invocation_index) index: u32) {
  let block = wid.y * grid.x + wid.x;
  if (block >= params.blocks) {
    return;
  }
  let local_quad = block * ${LANES}u + index % ${LANES}u;
  let column = local_quad % 16u;
  let slice = index / ${LANES}u;
  let row0 = 0u;
#repeat M MATS
  let panel${M} = local_quad / 16u + params.pair_panels * ${M}u;
  let base${M} = panel${M} * params.words * 16u + column;
  var total${M} = F4(0.0);
#endrepeat
#if NORM
  var square0 = 0.0;
#endif
  for (var first = slice * ${UNROLL}u; first < params.steps; first += ${SLICES}u * ${UNROLL}u) {
#repeat M MATS
#if SCALES
    let scale${M} = scales[(panel${M} * params.groups + first / params.group_steps) * 16u + column];
#endif
    var sum${M}_0 = F4(0.0);
#endrepeat
#repeat U UNROLL
    {
      let step = first + ${U}u;
#include "linear_step.wgsl"
    }
#endrepeat
#repeat M MATS
#if SCALES
    total${M} += sum${M}_0 * scale${M};
#else
    total${M} += sum${M}_0;
#endif
#endrepeat
  }

#if SUBGROUPS
  var stride = ${LANES}u;
  for (; stride < subgroup_size; stride *= 2u) {
#repeat M MATS
    total${M} += subgroupShuffleXor(total${M}, stride);
#endrepeat
#if NORM
    square0 += subgroupShuffleXor(square0, stride);
#endif
  }
  // Each run of `stride` invocations now holds one sum per column, in all its slices.
  if (index % stride < ${LANES}u) {
    let at = index / stride * ${LANES}u + index % ${LANES}u;
#repeat M MATS
    partial${M}[at] = total${M};
#endrepeat
#if NORM
    partial_square[at] = square0;
#endif
  }
  workgroupBarrier();
  if (index < ${LANES}u) {
    for (var at = ${LANES}u + index; at < ${WG}u * ${LANES}u / stride; at += ${LANES}u) {
#repeat M MATS
      partial${M}[index] += partial${M}[at];
#endrepeat
#if NORM
      partial_square[index] += partial_square[at];
#endif
    }
  }
#else
#repeat M MATS
  partial${M}[index] = total${M};
#endrepeat
#if NORM
  partial_square[index] = square0;
#endif
  workgroupBarrier();
  for (var half = ${WG}u / 2u; half >= ${LANES}u; half /= 2u) {
    if (index < half) {
#repeat M MATS
      partial${M}[index] += partial${M}[index + half];
#endrepeat
#if NORM
      partial_square[index] += partial_square[index + half];
#endif
    }
    workgroupBarrier();
  }
#endif
  if (index >= ${LANES}u) {
    return;
  }
#if NORM
  let norm = inverseSqrt(partial_square[index] / f32(params.k) + params.eps);
#else
  let norm = 1.0;
#endif
#if GATED
  finish(0u, params.first_panel * 16u + local_quad, partial0[index] * norm, partial1[index] * norm);
#else
  finish(0u, params.first_panel * 16u + local_quad, partial0[index] * norm, F4(0.0));
#endif
}
