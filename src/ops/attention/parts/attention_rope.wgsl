// New rows of q and k, rotated by position (Su et al. 2021) as they are read, and of v. Needs D.
#param ROTATED         // leading elements of a head that are rotated
#param HALVES : 0 | 1  // a pair is 0: elements 2i and 2i + 1 with one angle, 1: i and i + ROTATED / 2 with one each
#param PITCH_COS       // elements in a row of the tables
#param ROW : 0 | 1     // the tables' first row is live
@group(0) @binding(q) var<storage, read> q: array<f32>;
@group(0) @binding(k_new) var<storage, read> k_new: array<f32>;
@group(0) @binding(v_new) var<storage, read> v_new: array<f32>;
@group(0) @binding(table_cos) var<storage, read> table_cos: array<f32>;
@group(0) @binding(table_sin) var<storage, read> table_sin: array<f32>;
#if ROW
@group(0) @binding(live_row) var<uniform> live_row: vec4<i32>;
#endif

// First element of the tables for new row s.
fn table_row(s: u32) -> u32 {
#if ROW
  return (params.table_row + u32(live_row.x) + s) * ${PITCH_COS}u;
#else
  return (params.table_row + s) * ${PITCH_COS}u;
#endif
}

// Element e's partner in the rotation, its angle's index, and the sign of the partner's part.
struct Turn { partner: u32, angle: u32, sign: f32 }
fn turn(e: u32) -> Turn {
#if HALVES
  let early = e < ${ROTATED}u / 2u;
  return Turn(select(e - ${ROTATED}u / 2u, e + ${ROTATED}u / 2u, early), e, select(1.0, -1.0, early));
#else
  return Turn(e ^ 1u, e / 2u, select(1.0, -1.0, e % 2u == 0u));
#endif
}

// Element e of the head that starts at base; angles is table_row() of its position.
fn rotated_q(base: u32, e: u32, angles: u32) -> f32 {
  if (e >= ${ROTATED}u) {
    return q[base + min(e, ${D}u - 1u)];
  }
  let t = turn(e);
  return q[base + e] * table_cos[angles + t.angle] +
         t.sign * q[base + t.partner] * table_sin[angles + t.angle];
}
fn rotated_k(base: u32, e: u32, angles: u32) -> f32 {
  if (e >= ${ROTATED}u) {
    return k_new[base + min(e, ${D}u - 1u)];
  }
  let t = turn(e);
  return k_new[base + e] * table_cos[angles + t.angle] +
         t.sign * k_new[base + t.partner] * table_sin[angles + t.angle];
}
// Elements e to e + 3 of the only new row's head that starts at base.
fn rotated_q_group(base: u32, e: u32) -> vec4<f32> {
  let angles = table_row(0u);
  return vec4<f32>(rotated_q(base, e, angles), rotated_q(base, e + 1u, angles), rotated_q(base, e + 2u, angles),
                   rotated_q(base, e + 3u, angles));
}
fn rotated_k_group(base: u32, e: u32) -> vec4<f32> {
  let angles = table_row(0u);
  return vec4<f32>(rotated_k(base, e, angles), rotated_k(base, e + 1u, angles), rotated_k(base, e + 2u, angles),
                   rotated_k(base, e + 3u, angles));
}
