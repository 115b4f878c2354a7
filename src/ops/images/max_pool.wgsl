// The largest element under a window, an output for each invocation. NaN is larger than all; of equal ones the first
// counts, of several NaN the last.
#param WG
#param INDICES : 0 | 1  // also where it lies in its plane
#include "special_floats.wgsl"
// none: what a window has that lies in the padding alone, -inf
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;
#if INDICES
@group(0) @binding(indices) var<storage, read_write> indices: array<u32>;
#endif

// The first of the window's places from `first` on, `step` apart, that is not before 0, and of those past `end` the
// first: the loops below are no longer than x.
fn places(first: i32, step: u32, count: u32, end: u32) -> vec2<u32> {
  let before = u32(max(-first, 0));
  let within = u32(max(i32(end) - first, 0));
  return vec2<u32>((before + step - 1u) / step, min(count, (within + step - 1u) / step));
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let item = (wid.y * grid.x + wid.x) * ${WG}u + index;
  if (item >= params.count) {
    return;
  }
  let plane = item / (params.out_width * params.out_height) * params.in_height * params.in_width;
  let first_y = i32(item / params.out_width % params.out_height * params.stride_y) - i32(params.padding_y);
  let first_x = i32(item % params.out_width * params.stride_x) - i32(params.padding_x);
  var best = params.none;
  var best_at = 0u;
  var found = false;
  let rows = places(first_y, params.dilation_y, params.kernel_y, params.in_height);
  let columns = places(first_x, params.dilation_x, params.kernel_x, params.in_width);
  for (var ky = rows.x; ky < rows.y; ky++) {
    let row = u32(first_y + i32(ky * params.dilation_y)) * params.in_width;
    for (var kx = columns.x; kx < columns.y; kx++) {
      let at = row + u32(first_x + i32(kx * params.dilation_x));
      let value = x[plane + at];
      if (!found || is_nan(value) || (!is_nan(best) && value > best)) {
        best = value;
        best_at = at;
        found = true;
      }
    }
  }
  out[item] = best;
#if INDICES
  indices[item] = best_at;
#endif
}
