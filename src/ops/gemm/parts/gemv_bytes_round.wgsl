// gemv_bytes: x as bytes and scales in workgroup memory. An invocation has 8 elements at a time,
// four neighbours a block. The largest magnitude is found among bits, where NaN is above all.
#repeat T TURNS
  let step${T} = min(index + ${T}u * ${WG}u, ${STEPS}u - 1u);
#repeat H 2
  let raw${T}_${H} = row_quad(row0, step${T} * 2u + ${H}u);
#if NORM
  let x${T}_${H} = raw${T}_${H} * norm_weight[step${T} * 2u + ${H}u];
#else
  let x${T}_${H} = raw${T}_${H};
#endif
#endrepeat
#endrepeat
#repeat T TURNS
  {
    let counts = index + ${T}u * ${WG}u < ${STEPS}u;
#if NORM
    let square = dot(raw${T}_0, raw${T}_0) + dot(raw${T}_1, raw${T}_1);
    total_square += select(0.0, square, counts);
#endif
    let bits = max(bitcast<U4>(abs(x${T}_0)), bitcast<U4>(abs(x${T}_1)));
    var most = max(max(bits.x, bits.y), max(bits.z, bits.w));
    most = max(most, subgroupShuffleXor(most, 1u));
    most = max(most, subgroupShuffleXor(most, 2u));
    let largest = bitcast<f32>(most);
    let fit = select(0.0, 8323072.0 / largest, largest > 1e-30);
    // Signed bytes b of each element, of which it is the sum of b * 256^i: with 128 added to each, its
    // digits, and 128 more or less is the upper bit.
#repeat H 2
    let r${H} = (bitcast<U4>(vec4<i32>(round(x${T}_${H} * fit))) + U4(0x808080u)) ^ U4(0x808080u);
#endrepeat
    let even = U4(r0.xz, r1.xz);
    let odd = U4(r0.yw, r1.yw);
    if (counts) {
#repeat B 3
      x_bytes[step${T} * 3u + ${B}u] =
          vec2<u32>(pack4xU8(even >> U4(8u * ${B}u)), pack4xU8(odd >> U4(8u * ${B}u)));
#endrepeat
      if (step${T} % 4u == 0u) {
        x_scales[step${T} / 4u] = largest / (16.0 * 8323072.0);
      }
    }
  }
#endrepeat
