// Resizes planes [H, W] to [OH, OW]. PyTorch's source coordinates: scale * (o + 0.5) - 0.5, or scale * o
// with aligned corners; nearest takes floor(scale * o).
#param WG
#param MODE : nearest | bilinear
#param ALIGNED : 0 | 1  // bilinear with aligned corners
#params
@group(0) @binding(src) var<storage, read> src: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

#if MODE == bilinear
// The two source positions around an output position, and the second one's weight.
struct Taps {
  first: u32,
  second: u32,
  weight: f32,
}

fn taps(o: u32, scale: f32, extent: u32) -> Taps {
#if ALIGNED
  let at = scale * f32(o);
#else
  let at = max(scale * (f32(o) + 0.5) - 0.5, 0.0);
#endif
  let first = min(u32(at), extent - 1u);
  return Taps(first, min(first + 1u, extent - 1u), clamp(at - f32(first), 0.0, 1.0));
}
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  let row = i / params.out_width;
  let ox = i - row * params.out_width;
  let plane = row / params.out_height;
  let oy = row - plane * params.out_height;
  let base = plane * params.in_height * params.in_width;
#if MODE == nearest
  let y = min(u32(floor(f32(oy) * params.scale_y)), params.in_height - 1u);
  let x = min(u32(floor(f32(ox) * params.scale_x)), params.in_width - 1u);
  out[i] = src[base + y * params.in_width + x];
#else
  let y = taps(oy, params.scale_y, params.in_height);
  let x = taps(ox, params.scale_x, params.in_width);
  let top = base + y.first * params.in_width;
  let bottom = base + y.second * params.in_width;
  let upper = (1.0 - x.weight) * src[top + x.first] + x.weight * src[top + x.second];
  let lower = (1.0 - x.weight) * src[bottom + x.first] + x.weight * src[bottom + x.second];
  out[i] = (1.0 - y.weight) * upper + y.weight * lower;
#endif
}
