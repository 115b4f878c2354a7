// Attention of many queries on software adapters whose lanes exchange by shuffles: lanes are WG = 8 neighbouring
// queries of GC heads of one kv head. They see the same keys, and a load goes lane by lane there, so each lane
// fetches one key of eight, and all use it. Running maximum and sum as in attention_rows. Needs VEC 1.
#param WG : 8  // a subgroup has as many lanes or more
#param GC
#param CHUNKS  // of GC heads, per kv head
#param DV4     // groups of 4 in a row of v and out
#param GC_DV4  // GC * DV4
#requires subgroups
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#include "attention_store.wgsl"

// A group of four elements that a lane holds, in all lanes.
fn of_lane(group: vec4<f32>, lane: u32) -> vec4<f32> {
  return vec4<f32>(subgroupShuffle(group.x, lane), subgroupShuffle(group.y, lane), subgroupShuffle(group.z, lane),
                   subgroupShuffle(group.w, lane));
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let query_blocks = (params.queries + ${WG}u - 1u) / ${WG}u;
  let index = wid.y * groups.x + wid.x;
  let unit = index / query_blocks;
  if (unit >= params.units) {
    return;
  }
  let first_query = (index % query_blocks) * ${WG}u;
  let s = min(first_query + lane, params.queries - 1u);
  let first = (unit % ${CHUNKS}u) * ${GC}u;  // of this workgroup's heads, within the group
  let kv_head = (unit / ${CHUNKS}u) % params.kv_heads;
  let batch = unit / (${CHUNKS}u * params.kv_heads);
  let limit = key_limit(s);
  let most = key_limit(min(first_query + ${WG}u, params.queries) - 1u);  // the last query sees most keys
  let k_base = batch * params.k_batch + kv_head * params.k_head;
  let v_base = batch * params.v_batch + kv_head * params.v_head;
#repeat G GC
  let head${G} = kv_head * params.group + min(first + ${G}u, params.group - 1u);
  let q${G} = batch * params.q_batch + head${G} * params.q_head + s * params.q_row;
  var top${G} = LOWEST;
  var sum${G} = 0.0;
#endrepeat
  var acc: array<vec4<f32>, ${GC_DV4}>;
  for (var begin = 0u; begin < most; begin += ${WG}u) {
    let held = min(begin + lane, most - 1u);
    let k_row = k_base + held * params.k_row;
    let v_row = v_base + held * params.v_row;
#repeat K WG
#repeat G GC
    var dot${K}_${G} = 0.0;
#endrepeat
#endrepeat
    for (var i = 0u; i < params.d4; i++) {
      let keys = load_k(k_row, i);
#repeat G GC
      let query${G} = load_q(q${G}, i);
#endrepeat
#repeat K WG
      {
        let key = of_lane(keys, ${K}u);
#repeat G GC
        dot${K}_${G} += dot(query${G}, key);
#endrepeat
      }
#endrepeat
    }
#repeat G GC
    var next${G} = top${G};
#repeat K WG
#if MASK
    let masked${K}_${G} = dot${K}_${G} * params.scale + load_mask(batch, head${G}, s, min(begin + ${K}u, most - 1u));
    let sees${K}_${G} = begin + ${K}u < limit && !(masked${K}_${G} < LOWEST);
    let score${K}_${G} = select(LOWEST, masked${K}_${G}, begin + ${K}u < limit);
#else
    let sees${K}_${G} = begin + ${K}u < limit;
    let score${K}_${G} = select(LOWEST, dot${K}_${G} * params.scale, sees${K}_${G});
#endif
    next${G} = max(next${G}, score${K}_${G});
#endrepeat
    let fade${G} = exp(top${G} - next${G});
    top${G} = next${G};
    sum${G} *= fade${G};
#repeat K WG
    let weight${K}_${G} = select(0.0, UNIT * exp(score${K}_${G} - next${G}), sees${K}_${G});
    sum${G} += weight${K}_${G};
#endrepeat
#endrepeat
    for (var i = 0u; i < params.dv4; i++) {
      let values = select(vec4<f32>(0.0), load_v(v_row, i), begin + lane < most);
#repeat G GC
      var o${G} = acc[${G}u * ${DV4}u + i] * fade${G};
#endrepeat
#repeat K WG
      {
        let value = of_lane(values, ${K}u);
#repeat G GC
        o${G} += weight${K}_${G} * value;
#endrepeat
      }
#endrepeat
#repeat G GC
      acc[${G}u * ${DV4}u + i] = o${G};
#endrepeat
    }
  }
  if (first_query + lane < params.queries) {
#repeat G GC
    if (first + ${G}u < params.group) {
      let row = batch * params.out_batch + head${G} * params.out_head + s * params.out_row;
      for (var i = 0u; i < params.dv4; i++) {
        store_out(row, i, normalized(acc[${G}u * ${DV4}u + i], sum${G}));
      }
    }
#endrepeat
  }
}
