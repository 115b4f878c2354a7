// out = what is left of x [rows, n] when it is stored in 8 bits: (q - zero_point) * scale with
// q = clamp(round(x / scale) + zero_point, -128, 127).
#param WG
#param BY_ROW : 0 | 1  // a scale and a zero point for each row, else params hold them for all
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
#if BY_ROW
@group(0) @binding(scales) var<storage, read> scales: array<f32>;
@group(0) @binding(zero_points) var<storage, read> zero_points: array<i32>;
#endif
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * grid.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
#if BY_ROW
  let row = i / params.n;
  let scale = scales[row];
  let zero_point = f32(zero_points[row]);
#else
  let scale = params.scale;
  let zero_point = f32(params.zero_point);
#endif
  let q = clamp(round(x[i] * (1.0 / scale)) + zero_point, -128.0, 127.0);
  out[i] = (q - zero_point) * scale;
}
