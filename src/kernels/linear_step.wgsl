// One step of the sums (sumM_R: matrix M, row R, four neighbouring output columns): 8 elements of K for
// q4, else 4. Needs `step`, baseM (the columns' first words), rowR (of x, in F4) and `lane` if XLANES.
//
// XLANES is how x reaches the invocations. 0: each loads it. 4 or 8: neighbouring lanes load neighbouring
// elements and broadcast them; software adapters load one lane at a time, so this is 4 or 8 times cheaper.
// FAST_NIBBLES: nibbles become floats as mantissa bits of 2^23, with x scaled to match: no conversion, and
// no shift for each, which GPUs do at a fraction of their rate.
// FETCHED: the words are in qM_L_U already, with U a counter of the caller's.
// X_STAGED: x is read from `merged`, in workgroup memory.
#repeat L LOADS
#repeat M MATS
#if FETCHED
  let q${M}_${L} = q${M}_${L}_${U};
#else
  let q${M}_${L} = weights[base${M} + (step * ${LOADS}u + ${L}u) * 16u];
#endif
#endrepeat
#endrepeat
#if WEIGHT == q4
#if FAST_NIBBLES == 0
#repeat M MATS
  let n${M} = q${M}_0 ^ U4(0x88888888u);
#endrepeat
#endif
#endif
#if XLANES == 8
#repeat R ROWS
  let x${R} = x[(row${R} + step * 2u) * 4u + (lane & 7u)];
#if NORM
  square${R} += x${R} * x${R};
#endif
#endrepeat
#if NORM
  let gain = norm_weight[step * 8u + (lane & 7u)];
#endif
#endif
#repeat H HALVES
  {
    let quad = step * ${HALVES}u + ${H}u;
#if XLANES != 8
#if NORM
#if XLANES == 4
    let gain = norm_weight[quad * 4u + (lane & 3u)];
#else
    let gain = norm_weight[quad];
#endif
#endif
#repeat R ROWS
#if XLANES == 4
    let x${R} = x[(row${R} + quad) * 4u + (lane & 3u)];
#if NORM
    square${R} += x${R} * x${R};
#endif
#else
#if NORM
    let raw${R} = x[row${R} + quad];
    square${R} += dot(raw${R}, raw${R});
    let x${R} = raw${R} * gain;
#else
#if X_STAGED
    let x${R} = merged[row${R} + quad];
#else
    let x${R} = x[row${R} + quad];
#endif
#endif
#endif
#endrepeat
#endif
#if FAST_NIBBLES
#repeat M MATS
    let n${M} = q${M}_0 >> U4(${H}u * 16u);
#endrepeat
#repeat R ROWS
    let s${R} = x${R} * F4(1.0, 0.0625, 0.00390625, 0.000244140625);
#endrepeat
#endif
#repeat J 4
    {
#repeat M MATS
#if WEIGHT == q4
#if FAST_NIBBLES
      let w${M} = bitcast<F4>((n${M} & U4(15u << (4u * ${J}u))) | U4(0x4b000000u)) -
                  F4(8388608.0 + f32(8u << (4u * ${J}u)));
#else
      let w${M} = F4(bitcast<vec4<i32>>(n${M} << U4(28u - 16u * ${H}u - 4u * ${J}u)) >> U4(28u));
#endif
#endif
#if WEIGHT == q8
      let w${M} = F4(bitcast<vec4<i32>>(q${M}_0 << U4(24u - 8u * ${J}u)) >> U4(24u));
#endif
#if WEIGHT == f32
      let w${M} = bitcast<F4>(q${M}_${J});
#endif
#if WEIGHT == f16
#if J == 0
      let w${M} = half(q${M}_0, 0u);
#endif
#if J == 1
      let w${M} = half(q${M}_0, 1u);
#endif
#if J == 2
      let w${M} = half(q${M}_1, 0u);
#endif
#if J == 3
      let w${M} = half(q${M}_1, 1u);
#endif
#endif
#endrepeat
#repeat R ROWS
#if XLANES == 0
#if FAST_NIBBLES
      let e${R} = s${R}[${J}];
#else
      let e${R} = x${R}[${J}];
#endif
#else
#if NORM
      let e${R} = subgroupBroadcast(x${R} * gain, ${XLANES}u / 8u * 4u * ${H}u + ${J}u);
#else
      let e${R} = subgroupBroadcast(x${R}, ${XLANES}u / 8u * 4u * ${H}u + ${J}u);
#endif
#endif
#repeat M MATS
      sum${M}_${R} += e${R} * w${M};
#endrepeat
#endrepeat
    }
#endrepeat
  }
#endrepeat
