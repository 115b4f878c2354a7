// Attention of few queries over a long context on a GPU (flash decoding: Dao et al. 2023): one workgroup
// per (unit, query, split of T keys), where a unit is GC query heads of one kv head; keys and values are
// read once for all of them. Partial results go to attention_merge. With FRESH (one query per batch, its key
// the last), the kernel also rotates q and k and writes the new rows of k and v.
#param WG
#param T               // keys of a workgroup
#param GC              // query heads of a workgroup
#param CHUNKS          // of GC heads, per kv head
#param D4              // groups of 4 in a row of q and k, rounded up
#param DV4             // and of v and out
#param PARTS           // lanes that share a key: WG / T
#param PARTS4          // 4 * PARTS
#param UNROLL : 0 | 1  // D4 is a multiple of PARTS4
#param ITEMS           // GC * DV4
#param KEYS            // sets of keys of the value pass: max(1, WG / ITEMS)
#param KEYS4           // 4 * KEYS
#param GC_D4           // products
#param GC_WG
#param GC_T
#param GC_16
#include "attention_common.wgsl"
#include "attention_load.wgsl"
@group(0) @binding(partials) var<storage, read_write> partials: array<vec4<f32>>;

var<workgroup> queries: array<vec4<f32>, ${GC_D4}>;
var<workgroup> dots: array<f32, ${GC_WG}>;      // [head][key][part]
var<workgroup> weights: array<f32, ${GC_T}>;    // [head][key]
var<workgroup> folds: array<f32, ${GC_16}>;     // [head][16]
var<workgroup> lane_acc: array<vec4<f32>, ${WG}>;
var<workgroup> lane_sum: array<f32, ${WG}>;

#if FRESH
#include "attention_fresh.wgsl"

// Writes a head's row of k_new (rotated) and v_new, which start at `source`, to the caches from element
// `start` on, in the caches' own units.
fn write_fresh(lane: u32, source: u32, start: u32) {
#if VEC
  for (var e = 4u * lane; e < ${D}u; e += 4u * ${WG}u) {
    k[(start + e) / 4u] = packed(rotated_k_group(source, e));
    v[(start + e) / 4u] = packed(v_new_group(source + e));
  }
#else
  let angles = table_row(0u);
#if HALF
  for (var e = 2u * lane; e < ${D}u; e += 2u * ${WG}u) {
    k[(start + e) / 2u] = packed_halves(vec2<f32>(rotated_k(source, e, angles), rotated_k(source, e + 1u, angles)));
    v[(start + e) / 2u] = packed_halves(vec2<f32>(v_new[source + e], v_new[source + e + 1u]));
  }
#else
  for (var e = lane; e < ${D}u; e += ${WG}u) {
    k[start + e] = rotated_k(source, e, angles);
    v[start + e] = v_new[source + e];
  }
#endif
#endif
}
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let unit = wid.x / params.queries;
  let s = wid.x % params.queries;
  let begin = wid.y * ${T}u;
  let first = (unit % ${CHUNKS}u) * ${GC}u;
  let kv_head = (unit / ${CHUNKS}u) % params.kv_heads;
  let batch = unit / (${CHUNKS}u * params.kv_heads);
  let first_head = kv_head * params.group;
  let limit = key_limit(s);
  let last_key = max(limit, 1u) - 1u;

  for (var n = lane; n < ${GC_D4}u; n += ${WG}u) {
    let head = first_head + min(first + n / ${D4}u, params.group - 1u);
    let row = batch * params.q_batch + head * params.q_head + s * params.q_row;
#if FRESH
    let e = (n % ${D4}u) * 4u;
    let in_head = vec4<u32>(e, e + 1u, e + 2u, e + 3u) < vec4<u32>(${D}u);
    queries[n] = select(vec4<f32>(0.0), rotated_q_group(row, e), in_head) * params.scale;
#else
    queries[n] = load_q(row, n % ${D4}u) * params.scale;
#endif
  }
#if FRESH
  // The split that holds the new position writes its row first, then reads it with the others.
  let fresh = key_count() - 1u;
  if (begin <= fresh && fresh < begin + ${T}u) {
    write_fresh(lane, (batch * params.kv_heads + kv_head) * ${D}u,
                batch * params.k_batch + kv_head * params.k_head + fresh * params.k_row);
  }
  storageBarrier();
#endif
  workgroupBarrier();

  // Dot products: PARTS neighbouring lanes share a key, so they read neighbouring groups of its row.
  {
    let key = begin + lane / ${PARTS}u;
    let part = lane % ${PARTS}u;
    let row = batch * params.k_batch + kv_head * params.k_head + min(key, last_key) * params.k_row;
#repeat G GC
    var dot${G} = 0.0;
#endrepeat
    for (var i = part; i < ${D4}u; i += ${PARTS4}u) {
#repeat N 4
#if UNROLL
      let k${N} = load_k(row, i + ${N}u * ${PARTS}u);
#else
      var k${N} = vec4<f32>(0.0);
      if (i + ${N}u * ${PARTS}u < ${D4}u) {
        k${N} = load_k(row, i + ${N}u * ${PARTS}u);
      }
#endif
#endrepeat
#repeat N 4
      let at${N} = min(i + ${N}u * ${PARTS}u, ${D4}u - 1u);
#repeat G GC
      dot${G} += dot(queries[${G}u * ${D4}u + at${N}], k${N});
#endrepeat
#endrepeat
    }
#repeat G GC
    dots[${G}u * ${WG}u + lane] = dot${G};
#endrepeat
  }
  workgroupBarrier();

  for (var n = lane; n < ${GC_T}u; n += ${WG}u) {
    let base = (n / ${T}u) * ${WG}u + (n % ${T}u) * ${PARTS}u;
    var score = 0.0;
    for (var p = 0u; p < ${PARTS}u; p++) {
      score += dots[base + p];
    }
#if MASK
    score += load_mask(batch, first_head + min(first + n / ${T}u, params.group - 1u), s,
                       min(begin + n % ${T}u, last_key));
#endif
    weights[n] = score;
  }
  workgroupBarrier();

  for (var n = lane; n < ${GC_16}u; n += ${WG}u) {
    var top = LOWEST;
    for (var key = n % 16u; key < ${T}u; key += 16u) {
      if (begin + key < limit) {
        top = max(top, weights[(n / 16u) * ${T}u + key]);
      }
    }
    folds[n] = top;
  }
  workgroupBarrier();

  for (var n = lane; n < ${GC_T}u; n += ${WG}u) {
    var top = LOWEST;
    for (var j = 0u; j < 16u; j++) {
      top = max(top, folds[(n / ${T}u) * 16u + j]);
    }
    let score = weights[n];
#if MASK
    let hidden = begin + n % ${T}u >= limit || score < LOWEST;
#else
    let hidden = begin + n % ${T}u >= limit;
#endif
    weights[n] = select(UNIT * exp(score - top), 0.0, hidden);
  }
  workgroupBarrier();

  // Weighted values: lanes are the groups of the row, for each head, for KEYS interleaved sets of keys.
  let v_row = batch * params.v_batch + kv_head * params.v_head;
  let slot = lane / ${ITEMS}u;
  let count = min(${T}u, max(limit, begin) - begin);
#if KEYS == 1
  for (var item = lane; item < ${ITEMS}u; item += ${WG}u) {
#else
  {
    let item = lane % ${ITEMS}u;
#endif
    let g = item / ${DV4}u;
    let i = item % ${DV4}u;
    var acc = vec4<f32>(0.0);
    var sum = 0.0;
    if (slot < ${KEYS}u) {
      for (var key = slot; key < ${T}u; key += ${KEYS4}u) {
#repeat N 4
        let key${N} = key + ${N}u * ${KEYS}u;
        let v${N} = load_v(v_row + min(begin + key${N}, last_key) * params.v_row, i);
#endrepeat
#repeat N 4
        if (key${N} < count) {
          let w = weights[g * ${T}u + key${N}];
          acc += w * v${N};
          sum += w;
        }
#endrepeat
      }
    }
#if KEYS != 1
    lane_acc[lane] = acc;
    lane_sum[lane] = sum;
    workgroupBarrier();
    if (slot != 0u) {
      return;
    }
    for (var n = 1u; n < ${KEYS}u; n++) {
      acc += lane_acc[n * ${ITEMS}u + item];
      sum += lane_sum[n * ${ITEMS}u + item];
    }
#endif
    if (first + g < params.group) {
      let head = batch * params.kv_heads * params.group + first_head + first + g;
      let at = ((head * params.queries + s) * params.splits + wid.y) * (${DV4}u + 1u);
      partials[at + i] = acc;
      if (i == 0u) {
        var top = LOWEST;
        for (var j = 0u; j < 16u; j++) {
          top = max(top, folds[g * 16u + j]);
        }
        partials[at + ${DV4}u] = vec4<f32>(top, sum, 0.0, 0.0);
      }
    }
  }
}
