// Attention of one query over a cache on software adapters, with the query's own key and value fresh: what
// attention_subgroups does on GPUs, and the same partial results. A workgroup of WG lanes has T = WG * LANE_KEYS
// keys of one kv head; each lane takes every WG-th of them, so that lanes read neighbouring keys, for all GC
// query heads of the group. The workgroup that has the fresh key writes it before it reads. Needs VEC 1 and MASK 0.
#param WG
#param T          // WG * LANE_KEYS
#param LANE_KEYS  // a multiple of KU
#param GC         // query heads of a kv head
#param D4         // groups of 4 in a row of q and k
#param DV4        // and of v and out
#param KU         // keys at a time
#param VU         // groups of a value at a time; DV4 is a multiple
#param GC_KEYS    // GC * LANE_KEYS
#param GC_WG      // products
#param GC_D4
#param ITEMS      // GC * DV4
#param WG_ITEMS
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#include "attention_fresh.wgsl"
@group(0) @binding(partials) var<storage, read_write> partials: array<vec4<f32>>;

var<workgroup> queries: array<vec4<f32>, ${GC_D4}>;
var<workgroup> tops: array<f32, ${GC_WG}>;  // maximal scores, [head][lane]
var<workgroup> sums: array<f32, ${GC_WG}>;  // of the weights, to the maximum of all lanes
var<workgroup> parts: array<vec4<f32>, ${WG_ITEMS}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let kv_head = wid.x % params.kv_heads;
  let batch = wid.x / params.kv_heads;
  let first_head = kv_head * params.group;
  let begin = wid.y * ${T}u;
  let limit = key_count();
  let fresh = limit - 1u;
  for (var n = lane; n < ${GC_D4}u; n += ${WG}u) {
    let head = first_head + n / ${D4}u;
    queries[n] = rotated_q_group(batch * params.q_batch + head * params.q_head, (n % ${D4}u) * 4u) * params.scale;
  }
  let k_base = batch * params.k_batch + kv_head * params.k_head;
  let v_base = batch * params.v_batch + kv_head * params.v_head;
  if (begin <= fresh && fresh < begin + ${T}u) {
    let source = (batch * params.kv_heads + kv_head) * ${D}u;
    for (var n = lane; n < ${D4}u; n += ${WG}u) {
      k[(k_base + fresh * params.k_row) / 4u + n] = packed(rotated_k_group(source, n * 4u));
      v[(v_base + fresh * params.v_row) / 4u + n] = packed(v_new_group(source + n * 4u));
    }
  }
  storageBarrier();
  workgroupBarrier();

  let first = min(begin + lane, fresh);  // a lane without keys reads the last one, and counts nothing
  let count = min((max(limit, begin + lane) - begin - lane + ${WG}u - 1u) / ${WG}u, ${LANE_KEYS}u);
  let most = min((limit - begin + ${WG}u - 1u) / ${WG}u, ${LANE_KEYS}u);  // of any lane
  var weights: array<f32, ${GC_KEYS}>;  // [key][head]: scores, then the keys' own
#repeat G GC
  var top${G} = LOWEST;
#endrepeat
  for (var b = 0u; b < most; b += ${KU}u) {
#repeat K KU
    let row${K} = k_base + min(first + (b + ${K}u) * ${WG}u, fresh) * params.k_row;
#repeat G GC
    var dot${K}_${G} = 0.0;
#endrepeat
#endrepeat
    for (var i = 0u; i < params.d4; i++) {
#repeat G GC
      let query${G} = queries[${G}u * ${D4}u + i];
#endrepeat
#repeat K KU
      let key${K} = load_k(row${K}, i);
#repeat G GC
      dot${K}_${G} += dot(query${G}, key${K});
#endrepeat
#endrepeat
    }
#repeat K KU
#repeat G GC
    let score${K}_${G} = select(LOWEST, dot${K}_${G}, b + ${K}u < count);
    top${G} = max(top${G}, score${K}_${G});
    weights[(b + ${K}u) * ${GC}u + ${G}u] = score${K}_${G};
#endrepeat
#endrepeat
  }
#repeat G GC
  tops[${G}u * ${WG}u + lane] = top${G};
#endrepeat
  workgroupBarrier();
#repeat G GC
  for (var l = 0u; l < ${WG}u; l++) {
    top${G} = max(top${G}, tops[${G}u * ${WG}u + l]);
  }
  var sum${G} = 0.0;
#endrepeat
  for (var b = 0u; b < most; b++) {
#repeat G GC
    {
      let weight = select(0.0, UNIT * exp(weights[b * ${GC}u + ${G}u] - top${G}), b < count);
      weights[b * ${GC}u + ${G}u] = weight;
      sum${G} += weight;
    }
#endrepeat
  }
#repeat G GC
  sums[${G}u * ${WG}u + lane] = sum${G};
#endrepeat
  for (var i = 0u; i < params.dv4; i += ${VU}u) {
#repeat J VU
#repeat G GC
    var acc${J}_${G} = vec4<f32>(0.0);
#endrepeat
#endrepeat
    for (var b = 0u; b < most; b++) {
      let row = v_base + min(first + b * ${WG}u, fresh) * params.v_row;
#repeat G GC
      let weight${G} = weights[b * ${GC}u + ${G}u];
#endrepeat
#repeat J VU
      let value${J} = select(vec4<f32>(0.0), load_v(row, i + ${J}u), b < count);
#repeat G GC
      acc${J}_${G} += weight${G} * value${J};
#endrepeat
#endrepeat
    }
#repeat J VU
#repeat G GC
    parts[lane * ${ITEMS}u + ${G}u * ${DV4}u + i + ${J}u] = acc${J}_${G};
#endrepeat
#endrepeat
  }
  workgroupBarrier();

  for (var n = lane; n < ${ITEMS}u; n += ${WG}u) {
    let g = n / ${DV4}u;
    var acc = vec4<f32>(0.0);
    for (var l = 0u; l < ${WG}u; l++) {
      acc += parts[l * ${ITEMS}u + n];
    }
    let at = ((batch * params.kv_heads * params.group + first_head + g) * params.splits + wid.y) * (${DV4}u + 1u);
    partials[at + n % ${DV4}u] = acc;
    if (n % ${DV4}u == 0u) {
      var top = LOWEST;
      var sum = 0.0;
      for (var l = 0u; l < ${WG}u; l++) {
        top = max(top, tops[g * ${WG}u + l]);
        sum += sums[g * ${WG}u + l];
      }
      partials[at + ${DV4}u] = vec4<f32>(top, sum, 0.0, 0.0);
    }
  }
}
