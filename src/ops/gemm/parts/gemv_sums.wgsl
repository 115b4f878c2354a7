// The end of a kernel for one row: joins the slices' sums, totalM and with NORM total_square, and
// writes the results. Follows gemv_begin in one function.
#if RUN != 0
  for (var stride = ${LANES}u; stride < ${RUN}u; stride *= 2u) {
#repeat M MATS
    total${M} += subgroupShuffleXor(total${M}, stride);
#endrepeat
#if NORM
    total_square += subgroupShuffleXor(total_square, stride);
#endif
  }
  // The first LANES of each run hold one sum per column, of all the run's slices.
  if (index % ${RUN}u < ${LANES}u) {
    let at = index / ${RUN}u * ${LANES}u + index % ${RUN}u;
#repeat M MATS
    partial${M}[at] = total${M};
#endrepeat
#if NORM
    partial_square[at] = total_square;
#endif
  }
  workgroupBarrier();
  if (index >= ${LANES}u) {
    return;
  }
  for (var run = 1u; run < ${RUNS}u; run++) {
#repeat M MATS
    total${M} += partial${M}[run * ${LANES}u + index];
#endrepeat
#if NORM
    total_square += partial_square[run * ${LANES}u + index];
#endif
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
  if (index >= ${LANES}u) {
    return;
  }
#repeat M MATS
  total${M} = partial${M}[index];
#endrepeat
#if NORM
  total_square = partial_square[index];
#endif
#endif
#if NORM
  let norm = inverseSqrt(total_square / f32(params.k) + params.eps);
#else
  let norm = 1.0;
#endif
  let quad = params.first_panel * 16u + local_quad;
#if GATED
  finish(0u, quad, total0 * norm, total1 * norm);
#else
#if RESIDUAL
  finish_with(0u, quad, total0 * norm, F4(0.0), residual4);
#else
  finish(0u, quad, total0 * norm, F4(0.0));
#endif
#endif
