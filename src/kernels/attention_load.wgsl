// Groups of 4 elements of a row; `base` is the row's first element, i the group. Elements past the row
// read as 0.
#if VEC
@group(0) @binding(${Q_AT}) var<storage, read> q: array<vec4<f32>>;
fn load_q(base: u32, i: u32) -> vec4<f32> {
  return q[base / 4u + i];
}
#if HALF
@group(0) @binding(${K_AT}) var<storage, read> k: array<vec2<u32>>;
@group(0) @binding(${V_AT}) var<storage, read> v: array<vec2<u32>>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  let w = k[base / 4u + i];
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  let w = v[base / 4u + i];
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
#else
@group(0) @binding(${K_AT}) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(${V_AT}) var<storage, read> v: array<vec4<f32>>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  return k[base / 4u + i];
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  return v[base / 4u + i];
}
#endif
#else
@group(0) @binding(${Q_AT}) var<storage, read> q: array<f32>;
fn load_q(base: u32, i: u32) -> vec4<f32> {
  var r = vec4<f32>(q[base + 4u * i], 0.0, 0.0, 0.0);
  if (4u * i + 1u < ${D}u) { r.y = q[base + 4u * i + 1u]; }
  if (4u * i + 2u < ${D}u) { r.z = q[base + 4u * i + 2u]; }
  if (4u * i + 3u < ${D}u) { r.w = q[base + 4u * i + 3u]; }
  return r;
}
#if HALF
// Rows are even, so a pair is wholly inside or outside of its row.
@group(0) @binding(${K_AT}) var<storage, read> k: array<u32>;
@group(0) @binding(${V_AT}) var<storage, read> v: array<u32>;
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
@group(0) @binding(${K_AT}) var<storage, read> k: array<f32>;
@group(0) @binding(${V_AT}) var<storage, read> v: array<f32>;
fn load_k(base: u32, i: u32) -> vec4<f32> {
  var r = vec4<f32>(k[base + 4u * i], 0.0, 0.0, 0.0);
  if (4u * i + 1u < ${D}u) { r.y = k[base + 4u * i + 1u]; }
  if (4u * i + 2u < ${D}u) { r.z = k[base + 4u * i + 2u]; }
  if (4u * i + 3u < ${D}u) { r.w = k[base + 4u * i + 3u]; }
  return r;
}
fn load_v(base: u32, i: u32) -> vec4<f32> {
  var r = vec4<f32>(v[base + 4u * i], 0.0, 0.0, 0.0);
  if (4u * i + 1u < ${DV}u) { r.y = v[base + 4u * i + 1u]; }
  if (4u * i + 2u < ${DV}u) { r.z = v[base + 4u * i + 2u]; }
  if (4u * i + 3u < ${DV}u) { r.w = v[base + 4u * i + 3u]; }
  return r;
}
#endif
#endif

#if MASK
@group(0) @binding(${MASK_AT}) var<storage, read> mask: array<f32>;
fn load_mask(batch: u32, head: u32, s: u32, key: u32) -> f32 {
  return mask[batch * params.mask_batch + head * params.mask_head + s * params.mask_row +
              key * params.mask_column];
}
#endif
