// Matrix product for one row on a GPU, with 4-bit weights: as gemv, but x is rounded to 24 bits in
// blocks of 32 with a scale each, and its three bytes are multiplied four at a time. That is as exact as
// f32, and takes about a third of the instructions of converting each weight.
// A step is 8 elements of K, a unit a block of x: four steps, within one scale group. RUN is at least LANES and 4.
#param STEPS              // K / 8
#param UNITS              // K / 32
#param TURNS              // STEPS / WG, rounded up
#requires subgroups
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

const PARTIALS = ${RUNS}u * ${LANES}u;
// By step, the lowest bytes first: the bytes of the even elements, and of the odd.
var<workgroup> x_bytes: array<vec2<u32>, ${STEPS}u * 3u>;
var<workgroup> x_scales: array<f32, ${UNITS}u>;

// A scale between where it is fetched and where it is used: of one matrix the number, whose few registers leave room for
// another workgroup; of two the word, for which nothing waits.
#if MATS == 1
alias Held = F4;

fn hold_scale(panel: u32, column: u32, group: u32) -> Held {
  return scale_quad(panel, column, group);
}

fn held_scale(held: Held, group: u32) -> F4 {
  return held;
}
#else
alias Held = Scales;

fn hold_scale(panel: u32, column: u32, group: u32) -> Held {
  return scale_words(panel, column, group);
}

fn held_scale(held: Held, group: u32) -> F4 {
  return scale_of(held, group);
}
#endif

#include "gemv_begin.wgsl"
  var unit = 0u;
#repeat M MATS
  var scale${M} = Held();
#repeat S 4
  var q${M}_${S} = U4(0u);
#endrepeat
#endrepeat
  let next = slice;
#include "gemv_bytes_fetch.wgsl"
#if STAGED
  stage_rows(0u, 0u, index);
#endif
#include "gemv_bytes_round.wgsl"
  workgroupBarrier();
#if LOOP
  for (var first = slice; first < ${UNITS}u; first += ${SLICES}u) {
#else
  {
#endif
#repeat M MATS
#repeat B 3
    var sum${M}_${B} = vec4<i32>(0);
#endrepeat
#endrepeat
#repeat S 4
    {
#repeat B 3
      let x${B} = x_bytes[(unit * 4u + ${S}u) * 3u + ${B}u];
#endrepeat
#repeat M MATS
      // Each weight in the upper half of a byte: 16 times as large, and signed without a bias.
      let odd${M} = (q${M}_${S} ^ U4(0x80808080u)) & U4(0xf0f0f0f0u);
      let even${M} = ((q${M}_${S} << U4(4u)) ^ U4(0x80808080u)) & U4(0xf0f0f0f0u);
#repeat B 3
#repeat C 4
      sum${M}_${B}[${C}] += dot4I8Packed(even${M}[${C}], x${B}.x);
      sum${M}_${B}[${C}] += dot4I8Packed(odd${M}[${C}], x${B}.y);
#endrepeat
#endrepeat
#endrepeat
    }
#endrepeat
#if LOOP
    const counts = true;
#else
    let counts = slice == unit;
#endif
    let x_scale = x_scales[unit];
#repeat M MATS
    let sum${M} = F4(sum${M}_2 * 256 + sum${M}_1) * 256.0 + F4(sum${M}_0);
    let scaled${M} = sum${M} * (held_scale(scale${M}, unit * 4u / params.group_steps) * x_scale);
    total${M} += select(F4(0.0), scaled${M}, counts);
#endrepeat
#if LOOP
    let next = first + ${SLICES}u;
#include "gemv_bytes_fetch.wgsl"
#endif
  }
#if NORM
  for (var stride = 1u; stride < ${LANES}u; stride *= 2u) {
    total_square += subgroupShuffleXor(total_square, stride);
  }
#endif
#include "gemv_sums.wgsl"
}
