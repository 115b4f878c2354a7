// out[i] = x[i], or what scatter_mark has noted for it: an element of the source, or one number.
#param WG
#param T : u32 | vec2<u32>  // the latter: an element of 64 bits
#param SOURCE : 0 | 1       // there is a source, else params.value
#params
@group(0) @binding(x) var<storage, read> x: array<${T}>;
@group(0) @binding(marks) var<storage, read> marks: array<u32>;
#if SOURCE
@group(0) @binding(source) var<storage, read> source: array<${T}>;
#endif
@group(0) @binding(out) var<storage, read_write> out: array<${T}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  let mark = marks[i];
  if (mark == 0u) {
    out[i] = x[i];
    return;
  }
#if SOURCE
  out[i] = source[mark - 1u];
#elif T == u32
  out[i] = params.value.x;
#else
  out[i] = params.value;
#endif
}
