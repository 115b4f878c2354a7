// Matrix product for one row on a GPU. A workgroup owns LANES x 4 neighbouring output columns and splits K
// into SLICES interleaved slices, so that neighbouring lanes read neighbouring 16-byte vectors of a panel;
// the slices are then summed, first within subgroups. With one row everything is latency: the parameters are
// part of the kernel, all loads of UNROLL steps are made at once (without branches: steps past the
// end are clamped and count nothing), and the residual is fetched before the sums.
// With STAGED, x is not there yet: every workgroup prepares it for itself while its weights are on their way.
#param LOADS   // words of a step
#param HALVES  // groups of four elements of K in a step
#param UNROLL : 1 | 2 | 3 | 4  // steps at once
#param ROWS = 1 : 1
#if RUN != 0
#requires subgroups
#endif
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

#if RUN != 0
const PARTIALS = ${RUNS}u * ${LANES}u;
#else
const PARTIALS = ${WG}u;
#endif
#include "gemv_begin.wgsl"
#if LOOP
#if STAGED
  stage_rows(0u, 0u, index);
#endif
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
#repeat L LOADS
    let q${M}_${L}_${U} = weights[base${M} + (step${U} * ${LOADS}u + ${L}u) * 16u];
#endrepeat
    let scale${M}_${U} = scale_words(panel${M}, column, step${U} / params.group_steps);
#endrepeat
#endrepeat
#if STAGED
#if LOOP == 0
    stage_rows(0u, 0u, index);
#endif
#endif
#repeat U UNROLL
    {
      let step = step${U};
#repeat M MATS
      var sum${M}_0 = F4(0.0);
#endrepeat
#if NORM
      var square0 = 0.0;
#endif
#include "gemv_step.wgsl"
#repeat M MATS
      total${M} += sum${M}_0 * select(F4(0.0), scale_of(scale${M}_${U}, step / params.group_steps), counts${U});
#endrepeat
#if NORM
      total_square += select(0.0, square0, counts${U});
#endif
    }
#endrepeat
  }

#include "gemv_sums.wgsl"
}
