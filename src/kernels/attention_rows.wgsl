// Attention without barriers: one invocation keeps GC query heads of one kv head and one query, and walks
// the keys in blocks of T with a running maximum and sum (online softmax: Milakov & Gimelshein 2018; Dao
// et al. 2022). Right for software adapters, where a workgroup's lanes are one SIMD register.
//   SPLIT 0: lanes are neighbouring queries, which read the same keys; the result goes to out.
//   SPLIT 1: an invocation has one block of T keys and lanes are neighbouring blocks; partial results
//            (maximum, sum, unnormalized output) go to attention_merge.
// Parameters: those of attention_common, WG, T, GC, CHUNKS (chunks of GC heads per kv head), SPLIT.
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#if SPLIT
@group(0) @binding(${PARTIAL_AT}) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(${STATS_AT}) var<storage, read_write> stats: array<vec2<f32>>;
#else
#include "attention_store.wgsl"
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#if SPLIT
  let unit = wid.x / params.queries;
  let s = wid.x % params.queries;
  let begin = (wid.y * ${WG}u + lane) * ${T}u;
  if (unit >= params.units || begin >= key_count()) {
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
#endrepeat
#if SPLIT
  {
#else
  var acc: array<vec4<f32>, ${GC_DV4}>;
  for (var begin = 0u; begin < limit; begin += ${T}u) {
#endif
    // Scores of the block.
#repeat B T
    let key${B} = min(begin + ${B}u, max(limit, 1u) - 1u);
    let kr${B} = k_base + key${B} * params.k_row;
#repeat G GC
    var p${B}_${G} = 0.0;
#endrepeat
#endrepeat
    for (var i = 0u; i < ${D4}u; i++) {
#repeat G GC
      let qv${G} = load_q(q${G}, i);
#endrepeat
#repeat B T
      let kv${B} = load_k(kr${B}, i);
#repeat G GC
      p${B}_${G} += dot(qv${G}, kv${B});
#endrepeat
#endrepeat
    }
    // Their maximum, then their weights in place.
#repeat G GC
    var next${G} = top${G};
#repeat B T
    p${B}_${G} *= params.scale;
#if MASK
    p${B}_${G} += load_mask(batch, head${G}, s, key${B});
#endif
    if (begin + ${B}u < limit) {
      next${G} = max(next${G}, p${B}_${G});
    }
#endrepeat
    let fade${G} = exp(top${G} - next${G});
    top${G} = next${G};
    sum${G} *= fade${G};
#repeat B T
#if MASK
    p${B}_${G} = select(0.0, exp(p${B}_${G} - next${G}), begin + ${B}u < limit && p${B}_${G} >= LOWEST);
#else
    p${B}_${G} = select(0.0, exp(p${B}_${G} - next${G}), begin + ${B}u < limit);
#endif
    sum${G} += p${B}_${G};
#endrepeat
#endrepeat
#repeat B T
    let vr${B} = v_base + key${B} * params.v_row;
#endrepeat
#if SPLIT
#repeat G GC
    let part${G} = ((batch * params.kv_heads * params.group + head${G}) * params.queries + s) * params.splits +
                   begin / ${T}u;
#endrepeat
#endif
    for (var i = 0u; i < ${DV4}u; i++) {
#repeat G GC
#if SPLIT
      var o${G} = vec4<f32>(0.0);
#else
      var o${G} = acc[${G}u * ${DV4}u + i] * fade${G};
#endif
#endrepeat
#repeat B T
      let vv${B} = load_v(vr${B}, i);
#repeat G GC
      o${G} += p${B}_${G} * vv${B};
#endrepeat
#endrepeat
#repeat G GC
#if SPLIT
      if (first + ${G}u < params.group) {
        partials[part${G} * ${DV4}u + i] = o${G};
      }
#else
      acc[${G}u * ${DV4}u + i] = o${G};
#endif
#endrepeat
    }
#if SPLIT
#repeat G GC
    if (first + ${G}u < params.group) {
      stats[part${G}] = vec2<f32>(top${G}, sum${G});
    }
#endrepeat
#endif
  }
#if SPLIT == 0
#repeat G GC
  if (first + ${G}u < params.group) {
    let row = batch * params.out_batch + head${G} * params.out_head + s * params.out_row;
    for (var i = 0u; i < ${DV4}u; i++) {
      store_out(row, i, normalized(acc[${G}u * ${DV4}u + i], sum${G}));
    }
  }
#endrepeat
#endif
}
