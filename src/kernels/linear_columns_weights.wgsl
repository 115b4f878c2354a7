// The weights of a step of linear_columns or linear_row: w{S}_{F}_{E} of set S, four columns at element
// 4 F + E of K. Needs `step`, base{S}, and s{S} if FOLD (1: they are scaled).
#repeat S SETS
#repeat L LOADS
        let q${S}_${L} = weights[base${S} + (step * ${LOADS}u + ${L}u) * 16u];
#endrepeat
#if WEIGHT == q4
        let n${S} = q${S}_0 ^ U4(0x88888888u);
#endif
#repeat F HALVES
#repeat E 4
#if WEIGHT == q4
        let v${S}_${F}_${E} = F4(bitcast<vec4<i32>>(n${S} << U4(28u - 4u * (${F}u * 4u + ${E}u))) >> U4(28u));
#endif
#if WEIGHT == q8
        let v${S}_${F}_${E} = F4(bitcast<vec4<i32>>(q${S}_0 << U4(24u - 8u * ${E}u)) >> U4(24u));
#endif
#if WEIGHT == f32
        let v${S}_${F}_${E} = bitcast<F4>(q${S}_${E});
#endif
#if WEIGHT == f16
        let v${S}_${F}_${E} = half(select(q${S}_0, q${S}_1, ${E}u > 1u), ${E}u % 2u);
#endif
#if FOLD
        let w${S}_${F}_${E} = v${S}_${F}_${E} * s${S};
#else
        let w${S}_${F}_${E} = v${S}_${F}_${E};
#endif
#endrepeat
#endrepeat
#endrepeat
