// Linear layer for one row on a GPU. A workgroup owns LANES x 4 neighbouring output columns and splits K
// into SLICES interleaved slices, so that neighbouring lanes read neighbouring 16-byte vectors of a panel;
// the slices are then summed, first within subgroups if SUBGROUPS. With one row everything is latency: all
// loads of UNROLL steps are made at once (without branches: steps past the end are clamped and count
// nothing), and the residual is fetched before the sums.
// Parameters: those of linear_params and linear_step (ROWS = 1, XLANES = 0), LANES (4, 8 or 16), SLICES,
// WG (LANES * SLICES), UNROLL (steps at once), LOOP (0: SLICES * UNROLL steps are all), SUBGROUPS (their
// linear order of invocations is relied on).
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
  var total_square = 0.0;
#endif
#if RESIDUAL
  var residual4 = F4(0.0);
  if (index < ${LANES}u) {
    residual4 = fetch_residual(0u, params.first_panel * 16u + local_quad);
  }
#endif
#if LOOP
  for (var first = slice; first < params.steps; first += ${SLICES}u * ${UNROLL}u) {
#else
  {
    let first = slice;
#endif
#repeat U UNROLL
    let wanted${U} = first + ${U}u * ${SLICES}u;
    let counts${U} = wanted${U} < params.steps;
    let step${U} = min(wanted${U}, params.steps - 1u);
#repeat M MATS
#if SCALES
    let scale${M}_${U} = select(
        F4(0.0), scales[(panel${M} * params.groups + step${U} / params.group_steps) * 16u + column],
        counts${U});
#else
    let scale${M}_${U} = F4(select(0.0, 1.0, counts${U}));
#endif
#endrepeat
#endrepeat
#repeat U UNROLL
    {
      let step = step${U};
#repeat M MATS
      var sum${M}_0 = F4(0.0);
#endrepeat
#if NORM
      var square0 = 0.0;
#endif
#include "linear_step.wgsl"
#repeat M MATS
      total${M} += sum${M}_0 * scale${M}_${U};
#endrepeat
#if NORM
      total_square += select(0.0, square0, counts${U});
#endif
    }
#endrepeat
  }

#if SUBGROUPS
  var stride = ${LANES}u;
  for (; stride < subgroup_size; stride *= 2u) {
#repeat M MATS
    total${M} += subgroupShuffleXor(total${M}, stride);
#endrepeat
#if NORM
    total_square += subgroupShuffleXor(total_square, stride);
#endif
  }
  // Each run of `stride` invocations now holds one sum per column, in all its slices.
  if (index % stride < ${LANES}u) {
    let at = index / stride * ${LANES}u + index % ${LANES}u;
#repeat M MATS
    partial${M}[at] = total${M};
#endrepeat
#if NORM
    partial_square[at] = total_square;
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
  partial_square[index] = total_square;
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
  let quad = params.first_panel * 16u + local_quad;
#if GATED
  finish(0u, quad, partial0[index] * norm, partial1[index] * norm);
#else
#if RESIDUAL
  finish_with(0u, quad, partial0[index] * norm, F4(0.0), residual4);
#else
  finish(0u, quad, partial0[index] * norm, F4(0.0));
#endif
#endif
}
