// What precedes attention over a cache, in one dispatch: rotates q, and writes rotated k and plain v into
// the caches at a position. One invocation per two neighbouring elements of a head; heads are numbered
// (batch, position, head), q's first, then k's, then v's.
#param WG
#param D                 // elements of a head
#param D2                // D / 2, rounded up
#param Q_HEADS           // per position
#param KV_HEADS
#param BATCHES : 0 | 1   // there is more than one
#param HALF : 0 | 1      // the caches hold two halves per word
#param POSITION : 0 | 1  // the cache row is live
//   tokens     batch * positions
//   capacity   positions of a cache
//   first_row  of the new rows in the cache, without the live position
#params
@group(0) @binding(q_out) var<storage, read_write> q_out: array<f32>;
#if HALF
#include "half.wgsl"
@group(0) @binding(k) var<storage, read_write> k: array<u32>;
@group(0) @binding(v) var<storage, read_write> v: array<u32>;
#else
@group(0) @binding(k) var<storage, read_write> k: array<f32>;
@group(0) @binding(v) var<storage, read_write> v: array<f32>;
#endif
#if POSITION
@group(0) @binding(position) var<uniform> position: vec4<i32>;
#endif
#include "attention_rope.wgsl"

// Among its batch's.
fn position_of(token: u32) -> u32 {
#if BATCHES
  return token % params.positions;
#else
  return token;
#endif
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  var head = index / ${D2}u;
  let e = (index % ${D2}u) * 2u;
  let q_total = params.tokens * ${Q_HEADS}u;
  let kv_total = params.tokens * ${KV_HEADS}u;
  if (head < q_total) {
    let base = head * ${D}u;
    let angles = table_row(position_of(head / ${Q_HEADS}u));
    q_out[base + e] = rotated_q(base, e, angles);
    if (e + 1u < ${D}u) {
      q_out[base + e + 1u] = rotated_q(base, e + 1u, angles);
    }
    return;
  }
  head -= q_total;
  if (head >= 2u * kv_total) {
    return;
  }
  let is_v = head >= kv_total;
  head = select(head, head - kv_total, is_v);
  let base = head * ${D}u;
  let token = head / ${KV_HEADS}u;
  let s = position_of(token);
  var row = params.first_row + s;
#if POSITION
  row += u32(position.x);
#endif
#if BATCHES
  row += token / params.positions * params.capacity;
#endif
  let at = (row * ${KV_HEADS}u + head % ${KV_HEADS}u) * ${D}u + e;
  let next = min(e + 1u, ${D}u - 1u);
  if (is_v) {
#if HALF
    v[at / 2u] = packed_halves(vec2<f32>(v_new[base + e], v_new[base + next]));
#else
    v[at] = v_new[base + e];
    if (e + 1u < ${D}u) {
      v[at + 1u] = v_new[base + next];
    }
#endif
  } else {
    let angles = table_row(s);
#if HALF
    k[at / 2u] = packed_halves(vec2<f32>(rotated_k(base, e, angles), rotated_k(base, next, angles)));
#else
    k[at] = rotated_k(base, e, angles);
    if (e + 1u < ${D}u) {
      k[at + 1u] = rotated_k(base, next, angles);
    }
#endif
  }
}
