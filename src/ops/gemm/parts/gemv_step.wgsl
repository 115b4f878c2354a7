// One step of the sums of gemv or gemm_slices (sum{M}_{R}: matrix M, row R, four neighbouring output columns;
// square{R}): 8 elements of K for q4, else 4. Needs `step`, row{R}, and its words q{M}_{L}_{U}, with U a counter of the
// caller's.
#repeat H HALVES
  {
    let quad = step * ${HALVES}u + ${H}u;
#repeat R ROWS
    let raw${R} = row_quad(row${R}, quad);
#if NORM
    square${R} += dot(raw${R}, raw${R});
    let normed${R} = raw${R} * norm_weight[quad];
#else
    let normed${R} = raw${R};
#endif
    let elements${R} = in_place(normed${R});
#endrepeat
#include "step_sums.wgsl"
  }
#endrepeat
