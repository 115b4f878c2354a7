// Attention without barriers: one invocation keeps GC query heads of one kv head and one query, and walks
// the keys in blocks of T with a running maximum and sum (online softmax: Milakov & Gimelshein 2018; Dao
// et al. 2022). Right for software adapters, where a workgroup's lanes are one SIMD register; their
// compilers take seconds for long unrolled bodies, so only KU keys, or VU groups of a value, are unrolled.
//   SPLIT 0: lanes are neighbouring queries, which read the same keys; the result goes to out.
//   SPLIT 1: a workgroup has WG * T keys of one query and each lane every WG-th of them, so that lanes
//            read neighbouring keys; partial results go to attention_merge.
#param SPLIT : 0 | 1
#param WG
#param T       // a multiple of KU
#param GC
#param CHUNKS  // of GC heads, per kv head
#param DV4     // groups of 4 in a row of v and out, rounded up
#param STRIDE  // between a lane's keys: WG if SPLIT, else 1
#param KU
#param VU      // at most DV4
#param GC_T    // products
#param GC_DV4
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#if SPLIT
#param WG_T
@group(0) @binding(partials) var<storage, read_write> partials: array<vec4<f32>>;
#else
#include "attention_store.wgsl"
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#if SPLIT
  let unit = wid.x / params.queries;
  let s = wid.x % params.queries;
  let begin = wid.y * ${WG_T}u + lane;
  if (unit >= params.units) {
    return;
  }
#else
  let query_blocks = (params.queries + ${WG}u - 1u) / ${WG}u;
  let index = wid.y * groups.x + wid.x;
  let unit = index / query_blocks;
  let s = (index % query_blocks) * ${WG}u + lane;
  if (unit >= params.units || s >= params.queries) {
    return;
  }
#endif
  let first = (unit % ${CHUNKS}u) * ${GC}u;  // of this invocation's heads, within the group
  let kv_head = (unit / ${CHUNKS}u) % params.kv_heads;
  let batch = unit / (${CHUNKS}u * params.kv_heads);
  let limit = key_limit(s);
  let k_base = batch * params.k_batch + kv_head * params.k_head;
  let v_base = batch * params.v_batch + kv_head * params.v_head;
#repeat G GC
  let head${G} = kv_head * params.group + min(first + ${G}u, params.group - 1u);
  let q${G} = batch * params.q_batch + head${G} * params.q_head + s * params.q_row;
  var top${G} = LOWEST;
  var sum${G} = 0.0;
#if SPLIT
  let part${G} = (((batch * params.kv_heads * params.group + head${G}) * params.queries + s) * params.splits +
                  wid.y * ${WG}u + lane) * (${DV4}u + 1u);
#endif
#endrepeat
  var weights: array<f32, ${GC_T}>;  // [key][head]: scores, then the keys' own
#if SPLIT
  {
#else
  var acc: array<vec4<f32>, ${GC_DV4}>;
  for (var begin = 0u; begin < limit; begin += ${T}u) {
#endif
#if SPLIT
    let count = min((max(limit, begin) - begin + ${WG}u - 1u) / ${WG}u, ${T}u);
#else
    let count = min(limit - begin, ${T}u);
#endif
#repeat G GC
    var next${G} = top${G};
#endrepeat
    for (var b = 0u; b < count; b += ${KU}u) {
#repeat K KU
      let key${K} = begin + min(b + ${K}u, count - 1u) * ${STRIDE}u;
      let row${K} = k_base + key${K} * params.k_row;
#repeat G GC
      var dot${K}_${G} = 0.0;
#endrepeat
#endrepeat
      for (var i = 0u; i < params.d4; i++) {
#repeat G GC
        let query${G} = load_q(q${G}, i);
#endrepeat
#repeat K KU
        let k${K} = load_k(row${K}, i);
#repeat G GC
        dot${K}_${G} += dot(query${G}, k${K});
#endrepeat
#endrepeat
      }
#repeat K KU
#repeat G GC
#if MASK
      dot${K}_${G} = dot${K}_${G} * params.scale + load_mask(batch, head${G}, s, key${K});
#else
      dot${K}_${G} *= params.scale;
#endif
      next${G} = max(next${G}, dot${K}_${G});
      weights[(b + ${K}u) * ${GC}u + ${G}u] = dot${K}_${G};
#endrepeat
#endrepeat
    }
#repeat G GC
    let fade${G} = exp(top${G} - next${G});
    top${G} = next${G};
    sum${G} *= fade${G};
#endrepeat
    for (var b = 0u; b < count; b++) {
#repeat G GC
      {
        let score = weights[b * ${GC}u + ${G}u];
#if MASK
        let weight = select(UNIT * exp(score - next${G}), 0.0, score < LOWEST);
#else
        let weight = UNIT * exp(score - next${G});
#endif
        weights[b * ${GC}u + ${G}u] = weight;
        sum${G} += weight;
      }
#endrepeat
    }
    for (var i = 0u; i < params.dv4; i += ${VU}u) {
#repeat J VU
      let i${J} = min(i + ${J}u, ${DV4}u - 1u);
#repeat G GC
#if SPLIT
      var o${J}_${G} = vec4<f32>(0.0);
#else
      var o${J}_${G} = acc[${G}u * ${DV4}u + i${J}] * fade${G};
#endif
#endrepeat
#endrepeat
      for (var b = 0u; b < count; b++) {
        let row = v_base + (begin + b * ${STRIDE}u) * params.v_row;
#repeat G GC
        let weight${G} = weights[b * ${GC}u + ${G}u];
#endrepeat
#repeat J VU
        let v${J} = load_v(row, i${J});
#repeat G GC
        o${J}_${G} += weight${G} * v${J};
#endrepeat
#endrepeat
      }
#repeat J VU
      if (i + ${J}u < ${DV4}u) {
#repeat G GC
#if SPLIT
        if (first + ${G}u < params.group) {
          partials[part${G} + i${J}] = o${J}_${G};
        }
#else
        acc[${G}u * ${DV4}u + i${J}] = o${J}_${G};
#endif
#endrepeat
      }
#endrepeat
    }
  }
#repeat G GC
  if (first + ${G}u < params.group) {
#if SPLIT
    partials[part${G} + ${DV4}u] = vec4<f32>(top${G}, sum${G}, 0.0, 0.0);
#else
    let row = batch * params.out_batch + head${G} * params.out_head + s * params.out_row;
    for (var i = 0u; i < params.dv4; i++) {
      store_out(row, i, normalized(acc[${G}u * ${DV4}u + i], sum${G}));
    }
#endif
  }
#endrepeat
}
