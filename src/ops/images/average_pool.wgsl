// The mean of the elements under a window, an output for each invocation.
#param WG
#param COUNT_PADDING : 0 | 1  // elements of the padding count as zeros
#param DIVISOR : 0 | 1        // sums are divided by a given number instead
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let item = (wid.y * grid.x + wid.x) * ${WG}u + index;
  if (item >= params.count) {
    return;
  }
  let plane = item / (params.out_width * params.out_height) * params.in_height * params.in_width;
  // The window, cut off where the padding ends, and what of it lies in x.
  let size = vec2<i32>(vec2<u32>(params.in_width, params.in_height));
  let padding = vec2<i32>(vec2<u32>(params.padding_x, params.padding_y));
  let at = vec2<u32>(item % params.out_width, item / params.out_width % params.out_height);
  let first = vec2<i32>(at * vec2<u32>(params.stride_x, params.stride_y)) - padding;
  let end = min(first + vec2<i32>(vec2<u32>(params.kernel_x, params.kernel_y)), size + padding);
  let inside = vec2<u32>(max(first, vec2<i32>(0)));
  let past = vec2<u32>(max(min(end, size), vec2<i32>(0)));
  var sum = 0.0;
  for (var y = inside.y; y < past.y; y++) {
    for (var x_at = inside.x; x_at < past.x; x_at++) {
      sum += x[plane + y * params.in_width + x_at];
    }
  }
  if (inside.x >= past.x || inside.y >= past.y) {
    out[item] = 0.0;
    return;
  }
#if DIVISOR
  out[item] = sum / params.divisor;
#else
#if COUNT_PADDING
  let counted = end - first;
#else
  let counted = vec2<i32>(past - inside);
#endif
  out[item] = sum / (f32(counted.x) * f32(counted.y));
#endif
}
