// Adds products of half H of a step to sum{M}_{R} (matrix M, row R): of elements{R}, four along K as in_place gives
// them, with what the words q{M}_{L}_{U} hold for four neighbouring output columns; SCALED, times their scale{M}.
#param SCALED = 0 : 0 | 1
#if WEIGHT == q4
#repeat M MATS
    let n${M} = q${M}_0_${U} >> U4(${H}u * 16u);
#endrepeat
#endif
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
#if SCALED
      let v${M} = w${M} * scale${M};
#else
      let v${M} = w${M};
#endif
#repeat R ROWS
      sum${M}_${R} += elements${R}[${J}] * v${M};
#endrepeat
#endrepeat
    }
#endrepeat
