// out[i] = src at i's coordinates, except that one coordinate is read from an index tensor.
#param WG
#param SPLITS               // loops less one
#param T : u32 | vec2<u32>  // the latter: an element of 64 bits
//   extent, stride  of the indexed dimension of src
//   loops           innermost first: size, src stride, index stride
#params
@group(0) @binding(src) var<storage, read> src: array<${T}>;
@group(0) @binding(index) var<storage, read> index: array<i32>;
@group(0) @binding(out) var<storage, read_write> out: array<${T}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  var at = vec2<u32>(0u);
  var rest = i;
#repeat K SPLITS
  {
    let loop_ = params.loops[${K}];
    let outer = rest / loop_.x;
    at += (rest - outer * loop_.x) * loop_.yz;
    rest = outer;
  }
#endrepeat
  at += rest * params.loops[${SPLITS}].yz;
  // An index out of range cannot be reported from here: it is clamped, never read out of bounds.
  let extent = i32(params.extent);
  let raw = index[at.y];
  let wrapped = clamp(select(raw, raw + extent, raw < 0), 0, extent - 1);
  out[i] = src[at.x + u32(wrapped) * params.stride];
}
