// Four elements of a row as the caches hold them, and the new row of v. Needs attention_load with FRESH.
#if HALF
#include "half.wgsl"
alias Group = vec2<u32>;
fn packed(group: vec4<f32>) -> Group {
  return Group(packed_halves(group.xy), packed_halves(group.zw));
}
fn unpacked(group: Group) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(group.x), unpack2x16float(group.y));
}
#else
alias Group = vec4<f32>;
fn packed(group: vec4<f32>) -> Group {
  return group;
}
fn unpacked(group: Group) -> vec4<f32> {
  return group;
}
#endif

fn v_new_group(at: u32) -> vec4<f32> {
  return vec4<f32>(v_new[at], v_new[at + 1u], v_new[at + 2u], v_new[at + 3u]);
}
