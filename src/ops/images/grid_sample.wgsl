// Samples planes at the points of a grid: bilinear, border padding, aligned corners. A grid point (x, y)
// spans [-1, 1] over the centers of the first and last elements.
#param WG
//   points  grid points of one batch entry: OH * OW
#params
@group(0) @binding(src) var<storage, read> src: array<f32>;
@group(0) @binding(grid) var<storage, read> grid: array<vec2<f32>>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  let plane = i / params.points;
  let point = i - plane * params.points;
  let at = grid[plane / params.channels * params.points + point];
  let last = vec2<f32>(f32(params.in_width - 1u), f32(params.in_height - 1u));
  let position = clamp((at + 1.0) * 0.5 * last, vec2<f32>(0.0), last);
  let corner = vec2<u32>(params.in_width - 1u, params.in_height - 1u);
  let first = min(vec2<u32>(position), corner);  // a NaN may become any number
  let second = min(first + 1u, corner);
  let weight = position - vec2<f32>(first);
  let base = plane * params.in_height * params.in_width;
  let top = base + first.y * params.in_width;
  let bottom = base + second.y * params.in_width;
  let upper = (1.0 - weight.x) * src[top + first.x] + weight.x * src[top + second.x];
  let lower = (1.0 - weight.x) * src[bottom + first.x] + weight.x * src[bottom + second.x];
  out[i] = (1.0 - weight.y) * upper + weight.y * lower;
}
