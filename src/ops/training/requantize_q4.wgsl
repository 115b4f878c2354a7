// Weights [rows, k] as 4-bit integers in pairs, the first in the low half of a byte: round(weight / scale), from -8 to
// // 7, plus 8. Scales [groups, rows]; a scale of zero, and what is no number, gives 0. One invocation per word.
#param WG
#param BYTES : 0 | 1  // a word of the output holds four bytes, else one
//   count  bytes
//   width  of them in a row
#params
#include "special_floats.wgsl"
#include "exact_quotient.wgsl"
@group(0) @binding(weight) var<storage, read> weight: array<f32>;
@group(0) @binding(scales) var<storage, read> scales: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<u32>;

fn code(row: u32, k: u32) -> u32 {
  if (k >= params.k) {
    return 0u;
  }
  let value = weight[row * params.k + k];
  let scale = scales[k / params.group_size * params.rows + row];
  let both_infinite = magnitude_bits(value) == INFINITY_BITS && magnitude_bits(scale) == INFINITY_BITS;
  if (scale == 0.0 || is_nan(value) || is_nan(scale) || both_infinite) {
    return 8u;
  }
  return u32(i32(clamp(round(exact_quotient(value, scale)), -8.0, 7.0)) + 8);
}

fn packed_byte(i: u32) -> u32 {
  let row = i / params.width;
  let k = i % params.width * 2u;
  return code(row, k) | (code(row, k + 1u) << 4u);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
#if BYTES
  if (i >= (params.count + 3u) / 4u) {
    return;
  }
  var word = 0u;
#repeat B 4
  if (i * 4u + ${B}u < params.count) {
    word |= packed_byte(i * 4u + ${B}u) << (${B}u * 8u);
  }
#endrepeat
  out[i] = word;
#else
  if (i >= params.count) {
    return;
  }
  out[i] = packed_byte(i);
#endif
}
