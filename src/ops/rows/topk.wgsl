// The k first elements of rows of n, `inner` apart, and where they are: one workgroup per row, which looks k times for
// the first of those that come after the last. The largest come first, or the smallest; NaN is above all numbers, and
// of equals the first in memory is.
#param WG
#param LARGEST : 0 | 1
#params
#include "special_floats.wgsl"
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(values) var<storage, read_write> values: array<f32>;
@group(0) @binding(indices) var<storage, read_write> indices: array<i32>;

struct Place { key: u32, index: u32 }

var<workgroup> places: array<Place, ${WG}>;

// Lower comes first. Both zeros are one number, and so are all NaN.
fn key_of(v: f32) -> u32 {
  let magnitude = min(magnitude_bits(v), INFINITY_BITS + 1u);
  let is_below = bitcast<u32>(v) > 0x80000000u && !is_nan(v);
  let rising = select(0x80000000u + magnitude, 0x80000000u - magnitude, is_below);
#if LARGEST
  return ~rising;
#else
  return rising;
#endif
}

fn is_before(a: Place, b: Place) -> bool {
  return a.key < b.key || (a.key == b.key && a.index < b.index);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  let safe_row = min(row, params.rows - 1u);
  let base = safe_row / params.inner * params.n * params.inner + safe_row % params.inner;
  let out = safe_row / params.inner * params.k * params.inner + safe_row % params.inner;
  // No key is the lowest or the highest word.
  var last = Place(0u, 0u);
  for (var round = 0u; round < params.k; round++) {
    var best = Place(0xffffffffu, 0u);
    for (var i = lane; i < params.n; i += ${WG}u) {
      let place = Place(key_of(x[base + i * params.inner]), i);
      if (is_before(last, place) && is_before(place, best)) {
        best = place;
      }
    }
    places[lane] = best;
    workgroupBarrier();
    for (var step = ${WG}u / 2u; step > 0u; step /= 2u) {
      if (lane < step && is_before(places[lane + step], places[lane])) {
        places[lane] = places[lane + step];
      }
      workgroupBarrier();
    }
    last = places[0];
    workgroupBarrier();
    if (lane == 0u && row < params.rows) {
      values[out + round * params.inner] = x[base + last.index * params.inner];
      indices[out + round * params.inner] = i32(last.index);
    }
  }
}
