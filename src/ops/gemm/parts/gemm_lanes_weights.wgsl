// The weights of a step of gemm_lanes or gemv_lanes: w{S}_{F}_{E} of set S, four columns at element
// 4 F + E of K, to be multiplied by x times PLACES. Needs `step`, base{S}, and s{S} if FOLD.
// Nibbles become floats where they stand in the word, as mantissa bits of 2^23: two instructions, not three.
#param LOADS         // words of a step
#param HALVES        // groups of four elements of K in a step
#param FOLD : 0 | 1  // weights are scaled
#repeat S SETS
#repeat L LOADS
        let q${S}_${L} = weights[base${S} + (step * ${LOADS}u + ${L}u) * 16u];
#endrepeat
#repeat F HALVES
#if WEIGHT == q4
        let n${S}_${F} = q${S}_0 >> U4(${F}u * 16u);
#endif
#repeat E 4
#if WEIGHT == q4
        let v${S}_${F}_${E} = bitcast<F4>((n${S}_${F} & U4(15u << (4u * ${E}u))) | U4(0x4b000000u)) -
                              F4(8388608.0 + f32(8u << (4u * ${E}u)));
#elif WEIGHT == q8
        let v${S}_${F}_${E} = F4(bitcast<vec4<i32>>(q${S}_0 << U4(24u - 8u * ${E}u)) >> U4(24u));
#elif WEIGHT == f32
        let v${S}_${F}_${E} = bitcast<F4>(q${S}_${E});
#elif WEIGHT == f16
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
