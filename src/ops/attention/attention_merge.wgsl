// Joins the partial results of one query head and query over the splits of its keys (flash decoding: Dao
// et al. 2023). Each is an output of DV4 groups, then (maximum, sum of weights, 0, 0) to that scale.
// A workgroup has LANES * DV4 invocations for one row: lane l takes the splits l, l + LANES, ..., then lane
// 0 joins the lanes. With LANES 1 there is no barrier, and a workgroup of WG covers several rows' groups.
#param WG
#param T      // keys of a workgroup before
#param PARTS  // its partial results
#param LANES
#param DV4    // groups of 4 in a row of out, rounded up
#include "attention_common.wgsl"
#include "attention_store.wgsl"
@group(0) @binding(partials) var<storage, read> partials: array<vec4<f32>>;
#if LANES != 1
var<workgroup> lane_acc: array<vec4<f32>, ${WG}>;
var<workgroup> lane_stats: array<vec2<f32>, ${WG}>;
#endif

struct Joined { acc: vec4<f32>, top: f32, sum: f32 }

// With one more partial result, and its (maximum, sum).
fn join(so_far: Joined, acc: vec4<f32>, stats: vec2<f32>) -> Joined {
  let top = max(so_far.top, stats.x);
  let fade = exp(so_far.top - top);
  let weight = exp(stats.x - top);
  return Joined(so_far.acc * fade + acc * weight, top, so_far.sum * fade + stats.y * weight);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let heads = params.kv_heads * params.group;
  let rows = params.units * params.group * params.queries;  // units: batch * kv_heads here
#if LANES == 1
  let item = (wid.y * groups.x + wid.x) * ${WG}u + index;
  let row = item / ${DV4}u;
  let i = item % ${DV4}u;
  let lane = 0u;
  if (row >= rows) {
    return;
  }
#else
  let row = wid.y * groups.x + wid.x;
  let lane = index / ${DV4}u;
  let i = index % ${DV4}u;
#endif
  let count = (key_count() + ${T}u - 1u) / ${T}u * ${PARTS}u;
  let first = min(row, rows - 1u) * params.splits;
  var joined = Joined(vec4<f32>(0.0), LOWEST, 0.0);
  for (var n = lane; n < count; n += ${LANES}u) {
    let part = (first + n) * (${DV4}u + 1u);
    joined = join(joined, partials[part + i], partials[part + ${DV4}u].xy);
  }
#if LANES != 1
  lane_acc[index] = joined.acc;
  lane_stats[index] = vec2<f32>(joined.top, joined.sum);
  workgroupBarrier();
  if (lane != 0u || row >= rows) {
    return;
  }
  for (var n = 1u; n < ${LANES}u; n++) {
    joined = join(joined, lane_acc[n * ${DV4}u + i], lane_stats[n * ${DV4}u + i]);
  }
#endif
  let s = row % params.queries;
  let head = (row / params.queries) % heads;
  let batch = row / (params.queries * heads);
  store_out(batch * params.out_batch + head * params.out_head + s * params.out_row, i,
            normalized(joined.acc, joined.sum));
}
