// Rows for gemm_matrices that lose nothing to f16: x[r, k] * norm(r) * norm_weight[k] = f * (high + low), a power of two
// f for each row and two f16 for each element, which together are as exact as f32. One workgroup per row. Where weights
// are split too, one more for each panel finds a power of two for each of its columns, to which its scales are relative.
// Zero from K to the end of the last 32 elements. Infinities and NaN are their high part.
#param WG                           // a multiple of 16
#param W_TERMS : 1 | 2
#param WEIGHT : q4 | q8 | f16
#requires f16
#include "half.wgsl"
#if NORM
#include "workgroup_reduce.wgsl"
#endif
alias F4 = vec4<f32>;
alias U4 = vec4<u32>;
//   k              elements per row
//   padded_quads   of out, by four
//   padded_rows    of out
#params
#include "gemm_rows.wgsl"
#include "elementwise_math.wgsl"
#include "gemm_scales.wgsl"
@group(0) @binding(out) var<storage, read_write> out: array<vec4<f16>>;  // high, [padded row][quad], then low
@group(0) @binding(factors) var<storage, read_write> factors: array<f32>;  // by padded row, then by column
var<workgroup> peaks: array<atomic<u32>, 64>;  // largest magnitudes, as bits, where NaN is above all

// Elements 4 * i to 4 * i + 3 of a row that is normed by `norm`.
fn normed_quad(row: Row, i: u32, norm: f32) -> F4 {
#if NORM
  return row_quad(row, i) * (norm * norm_weight[i]);
#else
  return row_quad(row, i);
#endif
}

// Likewise, in the order in which gemm_matrices takes elements: as they come, or with 4-bit weights, of which it takes
// two at a time out of a word, 0 4 1 5 2 6 3 7.
fn ordered_quad(row: Row, i: u32, norm: f32) -> F4 {
#if WEIGHT == q4
  let even = normed_quad(row, i / 2u * 2u, norm);
  let odd = normed_quad(row, i / 2u * 2u + 1u, norm);
  return select(F4(even.x, odd.x, even.y, odd.y), F4(even.z, odd.z, even.w, odd.w), i % 2u == 1u);
#else
  return normed_quad(row, i, norm);
#endif
}

// A power of two, by which numbers up to the one with these bits are divided to be below 2^(top + 1).
fn factor_below(bits: u32, top: u32) -> f32 {
  let exponent = bits >> 23u;
  return bitcast<f32>(select(max(exponent, top + 1u) - top, 127u, exponent == 255u) << 23u);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let is_row = row < params.rows;
  let from_row = find_row(min(row, params.rows - 1u));
  let quads = params.k / 4u;
  for (var i = lane; i < 64u; i += ${WG}u) {
    atomicStore(&peaks[i], 0u);
  }
  workgroupBarrier();
#if W_TERMS == 2
  if (!is_row) {
    let of_panel = min(row - params.rows, params.panels - 1u);
    var largest = U4(0u);  // of four columns, since WG is a multiple of 16
    for (var i = lane; i < params.groups * 16u; i += ${WG}u) {
      largest = max(largest, bitcast<U4>(abs(scale_quad(of_panel, i % 16u, i / 16u))));
    }
#repeat C 4
    atomicMax(&peaks[lane % 16u * 4u + ${C}u], largest[${C}]);
#endrepeat
  }
#endif
  var square = 0.0;
  var most = U4(0u);
  let read = select(0u, quads, is_row);
  for (var i = lane; i < read; i += ${WG}u) {
#if NORM
    let value = row_quad(from_row, i);
    square += dot(value, value);
    most = max(most, bitcast<U4>(abs(value * norm_weight[i])));
#else
    most = max(most, bitcast<U4>(abs(row_quad(from_row, i))));
#endif
  }
#if NORM
  let norm = inverseSqrt(workgroup_sum(lane, square) / f32(params.k) + params.eps);
#else
  const norm = 1.0;
#endif
  if (is_row) {
    atomicMax(&peaks[0], max(max(most.x, most.y), max(most.z, most.w)));
  }
  workgroupBarrier();
#if W_TERMS == 2
  let panel = row - params.rows;
  if (!is_row && panel < params.panels) {
#if WEIGHT == q4
    const TOP = 10u;  // times 8 and less
#else
    const TOP = 6u;  // times 128 and less
#endif
    for (var i = lane; i < 64u; i += ${WG}u) {
      factors[params.padded_rows + panel * 64u + i] = factor_below(atomicLoad(&peaks[i]), TOP);
    }
  }
#endif
  if (!is_row) {
    return;
  }
  let factor = factor_below(bitcast<u32>(bitcast<f32>(atomicLoad(&peaks[0])) * norm), 13u);
  if (lane == 0u) {
    factors[row] = factor;
  }
  let shrink = bitcast<f32>(0x7f000000u - bitcast<u32>(factor));  // 1 / factor
  for (var i = lane; i < params.padded_quads; i += ${WG}u) {
    var value = F4(0.0);
    if (i < quads) {
      value = ordered_quad(from_row, i, norm) * shrink;
    }
    // Rounded among bits: what f32(f16(value)) is, compilers may take for the value itself (lavapipe's does).
    let bits = bitcast<U4>(value);
    let finite = (bits & U4(0x7fffffffu)) < U4(INFINITE_BITS);
    let high = select(value, bitcast<F4>((bits + U4(0x1000u)) & U4(0xffffe000u)), finite);
    out[row * params.padded_quads + i] = vec4<f16>(within_half(high));
    out[(params.padded_rows + row) * params.padded_quads + i] =
        vec4<f16>(within_half(select(F4(0.0), value - high, finite)));
  }
}
