// x [B, N, C] as complex numbers (2i, 2i+1) times freqs [N, C] with (cos, sin) interleaved the same way:
// one invocation per pair.
#param WG
// in all of x; in freqs
#params
@group(0) @binding(x) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(freqs) var<storage, read> freqs: array<vec2<f32>>;
@group(0) @binding(out) var<storage, read_write> out: array<vec2<f32>>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.pairs) {
    return;
  }
  let v = x[i];
  let f = freqs[i % params.freq_pairs];
  out[i] = vec2<f32>(v.x * f.x - v.y * f.y, v.x * f.y + v.y * f.x);
}
