// The largest element under a window, an output for each invocation. NaN is larger than all; of equal ones the first
// counts, of several NaN the last.
#param WG
#param INDICES : 0 | 1  // also where it lies in its plane
#include "special_floats.wgsl"
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;
#if INDICES
@group(0) @binding(indices) var<storage, read_write> indices: array<u32>;
#endif

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
  var best = 0.0;
  var best_at = 0u;
  var found = false;
  for (var ky = 0u; ky < params.kernel_y; ky++) {
    let y = first_y + i32(ky * params.dilation_y);
    for (var kx = 0u; kx < params.kernel_x; kx++) {
      let x_at = first_x + i32(kx * params.dilation_x);
      if (y >= 0 && u32(y) < params.in_height && x_at >= 0 && u32(x_at) < params.in_width) {
        let at = u32(y) * params.in_width + u32(x_at);
        let value = x[plane + at];
        if (!found || is_nan(value) || (!is_nan(best) && value > best)) {
          best = value;
          best_at = at;
          found = true;
        }
      }
    }
  }
  out[item] = best;
#if INDICES
  indices[item] = best_at;
#endif
}
