// dst = src, word by word. Made by the planner where a call would read and write one buffer.
#param WG
#params
@group(0) @binding(src) var<storage, read> src: array<u32>;
@group(0) @binding(dst) var<storage, read_write> dst: array<u32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i < params.count) {
    dst[i] = src[i];
  }
}
