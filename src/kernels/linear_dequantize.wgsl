// out = (x - zero_point) * scale: a quantized x [.., K] for a linear layer.
// Parameters: WG (workgroup size).
struct Params { count: u32, zero_point: i32, scale: f32 }
@group(0) @binding(0) var<storage, read> x: array<i32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * grid.x + wid.x) * ${WG}u + lane;
  if (i < params.count) {
    out[i] = f32(x[i] - params.zero_point) * params.scale;
  }
}
