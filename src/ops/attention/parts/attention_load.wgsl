// Groups of 4 elements of a row; `base` is the row's first element, i the group. Elements past the row
// read as 0. With FRESH, q is read through attention_rope instead, and k and v get new rows.
#param D                                     // elements of a row of q and k
#param HALF : 0 | 1                          // k and v hold two halves per word
#param FRESH = 0 : 0 | 1
#param KV_ACCESS = read : read | read_write  // the latter with FRESH
#param MASK = 0 : 0 | 1                      // an additive mask is bound
#if FRESH
#include "attention_rope.wgsl"
#else
#if VEC
@group(0) @binding(q) var<storage, read> q: array<vec4<f32>>;
fn load_q(base: u32, i: u32) -> vec4<f32> {
  return q[base / 4u + i];
}
#else
@group(0) @binding(q) var<storage, read> q: array<f32>;
fn load_q(base: u32, i: u32) -> vec4<f32> {
  let at = base + 4u * i;
  let last = base + ${D}u - 1u;
  let r = vec4<f32>(q[at], q[min(at + 1u, last)], q[min(at + 2u, last)], q[min(at + 3u, last)]);
  return select(vec4<f32>(0.0), r, vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${D}u));
}
#endif
#endif

#if VEC
#if HALF
@group(0) @binding(k) var<storage, ${KV_ACCESS}> k: array<vec2<u32>>;
@group(0) @binding(v) var<storage, ${KV_ACCESS}> v: array<vec2<u32>>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  let w = k[base / 4u + i];
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  let w = v[base / 4u + i];
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
#else
@group(0) @binding(k) var<storage, ${KV_ACCESS}> k: array<vec4<f32>>;
@group(0) @binding(v) var<storage, ${KV_ACCESS}> v: array<vec4<f32>>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  return k[base / 4u + i];
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  return v[base / 4u + i];
}
#endif
#else
#if HALF
// Rows are even, so a pair is wholly inside or outside of its row.
@group(0) @binding(k) var<storage, ${KV_ACCESS}> k: array<u32>;
@group(0) @binding(v) var<storage, ${KV_ACCESS}> v: array<u32>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  var r = vec4<f32>(unpack2x16float(k[base / 2u + 2u * i]), 0.0, 0.0);
  if (4u * i + 2u < ${D}u) { r = vec4<f32>(r.xy, unpack2x16float(k[base / 2u + 2u * i + 1u])); }
  return r;
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  var r = vec4<f32>(unpack2x16float(v[base / 2u + 2u * i]), 0.0, 0.0);
  if (4u * i + 2u < ${DV}u) { r = vec4<f32>(r.xy, unpack2x16float(v[base / 2u + 2u * i + 1u])); }
  return r;
}
#else
@group(0) @binding(k) var<storage, ${KV_ACCESS}> k: array<f32>;
@group(0) @binding(v) var<storage, ${KV_ACCESS}> v: array<f32>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  let at = base + 4u * i;
  let last = base + ${D}u - 1u;
  let r = vec4<f32>(k[at], k[min(at + 1u, last)], k[min(at + 2u, last)], k[min(at + 3u, last)]);
  return select(vec4<f32>(0.0), r, vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${D}u));
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  let at = base + 4u * i;
  let last = base + ${DV}u - 1u;
  let r = vec4<f32>(v[at], v[min(at + 1u, last)], v[min(at + 2u, last)], v[min(at + 3u, last)]);
  return select(vec4<f32>(0.0), r, vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${DV}u));
}
#endif
#endif

#if MASK
@group(0) @binding(mask) var<storage, read> mask: array<f32>;
fn load_mask(batch: u32, head: u32, s: u32, key: u32) -> f32 {
  return mask[batch * params.mask_batch + head * params.mask_head + s * params.mask_row +
              key * params.mask_column];
}
#endif
