// One step of the sums of gemv or gemm_slices (sum{M}_{R}: matrix M, row R, four neighbouring output columns;
// square{R}): 8 elements of K for q4, else 4. Needs `step`, row{R}, and its words q{M}_{L}_{U}, with U a counter of the
// caller's.
// Nibbles become floats as mantissa bits of 2^23, with x scaled to match: no conversion, and no shift for each,
// which GPUs do at a fraction of their rate.
#repeat H HALVES
  {
    let quad = step * ${HALVES}u + ${H}u;
#if WEIGHT == q4
#repeat M MATS
    let n${M} = q${M}_0_${U} >> U4(${H}u * 16u);
#endrepeat
#endif
#repeat R ROWS
    let raw${R} = row_quad(row${R}, quad);
#if NORM
    square${R} += dot(raw${R}, raw${R});
    let normed${R} = raw${R} * norm_weight[quad];
#else
    let normed${R} = raw${R};
#endif
#if WEIGHT == q4
    let elements${R} = normed${R} * F4(1.0, 0.0625, 0.00390625, 0.000244140625);
#else
    let elements${R} = normed${R};
#endif
#endrepeat
#repeat J 4
    {
#repeat M MATS
#if WEIGHT == q4
      let w${M} = bitcast<F4>((n${M} & U4(15u << (4u * ${J}u))) | U4(0x4b000000u)) -
                  F4(8388608.0 + f32(8u << (4u * ${J}u)));
#elif WEIGHT == q8
      let w${M} = F4(bitcast<vec4<i32>>(q${M}_0_${U} << U4(24u - 8u * ${J}u)) >> U4(24u));
#elif WEIGHT == f32
      let w${M} = bitcast<F4>(q${M}_${J}_${U});
#elif WEIGHT == f16
      let w${M} = half(select(q${M}_0_${U}, q${M}_1_${U}, ${J}u > 1u), ${J}u % 2u);
#endif
#repeat R ROWS
      sum${M}_${R} += elements${R}[${J}] * w${M};
#endrepeat
#endrepeat
    }
#endrepeat
  }
#endrepeat
