// out = src moved by `before` in every dimension, `value` where src does not reach.
#param WG
#param LOOPS
#param T : u32 | vec2<u32>  // the latter: an element of 64 bits
//   value  its words, the low one first
//   loops  innermost first: out size, src size, src stride, before
#params
@group(0) @binding(src) var<storage, read> src: array<${T}>;
@group(0) @binding(out) var<storage, read_write> out: array<${T}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  var at = 0;
  var inside = true;
  var rest = i;
#repeat K LOOPS
  {
    let loop_ = params.loops[${K}];
    let outer = rest / u32(loop_.x);
    let coordinate = i32(rest - outer * u32(loop_.x)) - loop_.w;
    inside = inside && coordinate >= 0 && coordinate < loop_.y;
    at += coordinate * loop_.z;
    rest = outer;
  }
#endrepeat
#if T == u32
  var element = params.value.x;
#else
  var element = params.value;
#endif
  if (inside) {
    element = src[at];
  }
  out[i] = element;
}
