// Notes for each element of the output which of the source's goes there, the last of several: its number and one more,
// or 0. One invocation per index; indices that are out of range go nowhere.
#param WG
#param SPLITS  // loops less one
//   extent, stride  of the indexed dimension of the output
//   loops           innermost first: size, strides of the index, the source and the output
#params
@group(0) @binding(index) var<storage, read> index: array<i32>;
@group(0) @binding(marks) var<storage, read_write> marks: array<atomic<u32>>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  var at = vec3<u32>(0u);
  var rest = i;
#repeat K SPLITS
  {
    let loop_ = params.loops[${K}];
    let outer = rest / loop_.x;
    at += (rest - outer * loop_.x) * loop_.yzw;
    rest = outer;
  }
#endrepeat
  at += rest * params.loops[${SPLITS}].yzw;
  let place = u32(index[at.x]);
  if (place < params.extent) {
    atomicMax(&marks[at.z + place * params.stride], at.y + 1u);
  }
}
