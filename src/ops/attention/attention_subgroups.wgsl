// Attention of one query over a long context on a GPU with subgroups, with the query's own key and value
// fresh: what attention_decode does with FRESH, and the same partial results, but nearly without barriers.
// Each run of RUN invocations takes the softmax over KEYS keys by itself: all loads of keys and values are
// made at once, at the start; PARTS neighbouring lanes share a key; then lanes are the groups of a value's
// row, in SLOTS sets of V_KEYS keys. The runs of a workgroup are joined at its end. Needs VEC 1 and
// MASK 0.
#param WG
#param T          // keys of a workgroup
#param GC         // query heads of a workgroup
#param CHUNKS     // of GC heads, per kv head
#param MOST_KEYS  // the cache's
#param D4         // groups of 4 in a row of q and k
#param DV4        // and of v and out
#param RUN        // invocations that are surely in one subgroup
#param RUNS       // WG / RUN
#param PARTS
#param K_GROUPS   // D4 / PARTS
#param KEYS       // RUN / PARTS
#param V_ITEMS    // groups of a value's row per lane
#param SLOTS
#param V_KEYS     // KEYS / SLOTS
#param ITEMS      // GC * DV4
#param GC_D4      // products
#param GC_RUNS
#param RUNS_ITEMS
#requires subgroups
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#include "attention_fresh.wgsl"
@group(0) @binding(partials) var<storage, read_write> partials: array<vec4<f32>>;

var<workgroup> queries: array<vec4<f32>, ${GC_D4}>;
var<workgroup> run_acc: array<vec4<f32>, ${RUNS_ITEMS}>;
var<workgroup> run_stats: array<vec2<f32>, ${GC_RUNS}>;  // (maximum, sum of weights)

// The fresh row goes through workgroup memory as the cache holds it, because what a compiler makes of packing
// and unpacking in one place is not always the cache's rounding.
var<workgroup> fresh_key: array<Group, ${D4}>;
var<workgroup> fresh_value: array<Group, ${D4}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) index: u32,
        @builtin(subgroup_invocation_id) subgroup_lane: u32) {
  let unit = wid.x;
  let begin = wid.y * ${T}u;
  let first = (unit % ${CHUNKS}u) * ${GC}u;
  let kv_head = (unit / ${CHUNKS}u) % params.kv_heads;
  let batch = unit / (${CHUNKS}u * params.kv_heads);
  let first_head = kv_head * params.group;
  let count = key_count();
  let fresh = count - 1u;
  let run = index / ${RUN}u;
  let lane = index % ${RUN}u;

  // Rows are loaded whether the query sees them or not, so that nothing waits for the live position. The
  // cache's row of the fresh key is written below, and what is read of it here is not used.
  let key = begin + run * ${KEYS}u + lane / ${PARTS}u;
  let part = lane % ${PARTS}u;
  let k_row = batch * params.k_batch + kv_head * params.k_head + min(key, ${MOST_KEYS}u - 1u) * params.k_row;
#repeat N K_GROUPS
  let key${N} = load_k(k_row, part + ${N}u * ${PARTS}u);
#endrepeat
#if SLOTS == 1
  let slot = 0u;
#else
  let slot = lane / ${DV4}u;
#endif
  let v_first = begin + run * ${KEYS}u + slot * ${V_KEYS}u;
  let v_row = batch * params.v_batch + kv_head * params.v_head;
  let source = (batch * params.kv_heads + kv_head) * ${D}u;
#repeat I V_ITEMS
#if SLOTS == 1
  let item${I} = min(lane + ${I}u * ${RUN}u, ${DV4}u - 1u);
#else
  let item${I} = lane % ${DV4}u;
#endif
#repeat J V_KEYS
  let value${I}_${J} = load_v(v_row + min(v_first + ${J}u, ${MOST_KEYS}u - 1u) * params.v_row, item${I});
#endrepeat
#endrepeat

  for (var n = index; n < ${GC_D4}u; n += ${WG}u) {
    let head = first_head + min(first + n / ${D4}u, params.group - 1u);
    queries[n] = rotated_q_group(batch * params.q_batch + head * params.q_head, (n % ${D4}u) * 4u) * params.scale;
  }
  let writes = first == 0u && begin <= fresh && fresh < begin + ${T}u;
  for (var n = index; n < ${D4}u; n += ${WG}u) {
    let new_key = packed(rotated_k_group(source, n * 4u));
    let new_value = packed(v_new_group(source + n * 4u));
    fresh_key[n] = new_key;
    fresh_value[n] = new_value;
    if (writes) {
      let at = (batch * params.k_batch + kv_head * params.k_head + fresh * params.k_row) / 4u + n;
      k[at] = new_key;
      v[at] = new_value;
    }
  }
  workgroupBarrier();

  let is_fresh = key == fresh;
#repeat G GC
  var dot${G} = 0.0;
#endrepeat
#repeat N K_GROUPS
  {
    let at = part + ${N}u * ${PARTS}u;
    let group = select(key${N}, unpacked(fresh_key[at]), is_fresh);
#repeat G GC
    dot${G} += dot(queries[${G}u * ${D4}u + at], group);
#endrepeat
  }
#endrepeat
  let seen = key < count;
#repeat G GC
  for (var stride = 1u; stride < ${PARTS}u; stride *= 2u) {
    dot${G} += subgroupShuffleXor(dot${G}, stride);
  }
  var top${G} = select(LOWEST, dot${G}, seen);
  for (var stride = ${PARTS}u; stride < ${RUN}u; stride *= 2u) {
    top${G} = max(top${G}, subgroupShuffleXor(top${G}, stride));
  }
  let weight${G} = select(0.0, UNIT * exp(dot${G} - top${G}), seen);
  var sum${G} = 0.0;
#repeat I V_ITEMS
  var acc${G}_${I} = vec4<f32>(0.0);
#endrepeat
#endrepeat

#repeat I V_ITEMS
  let new_value${I} = unpacked(fresh_value[item${I}]);
#endrepeat
  let run_start = subgroup_lane - lane;  // among the subgroup's lanes
#repeat J V_KEYS
  {
    let holder = (slot * ${V_KEYS}u + ${J}u) * ${PARTS}u;
    let newest = v_first + ${J}u == fresh;
    let unseen = v_first + ${J}u > fresh;  // its row may hold anything
#repeat G GC
    let w${G} = subgroupShuffle(weight${G}, run_start + holder);
    sum${G} += w${G};
#endrepeat
#repeat I V_ITEMS
    let used${I} = select(select(value${I}_${J}, new_value${I}, newest), vec4<f32>(0.0), unseen);
#repeat G GC
    acc${G}_${I} += w${G} * used${I};
#endrepeat
#endrepeat
  }
#endrepeat

#repeat I V_ITEMS
#repeat G GC
#if SLOTS == 1
  if (lane + ${I}u * ${RUN}u < ${DV4}u) {
    run_acc[run * ${ITEMS}u + ${G}u * ${DV4}u + item${I}] = acc${G}_${I};
  }
#else
  for (var stride = ${DV4}u; stride < ${RUN}u; stride *= 2u) {
    acc${G}_${I} += subgroupShuffleXor(acc${G}_${I}, stride);
  }
  if (slot == 0u) {
    run_acc[run * ${ITEMS}u + ${G}u * ${DV4}u + item${I}] = acc${G}_${I};
  }
#endif
#endrepeat
#endrepeat
#if SLOTS != 1
#repeat G GC
  for (var stride = ${DV4}u; stride < ${RUN}u; stride *= 2u) {
    sum${G} += subgroupShuffleXor(sum${G}, stride);
  }
#endrepeat
#endif
  if (lane == 0u) {
#repeat G GC
    run_stats[run * ${GC}u + ${G}u] = vec2<f32>(top${G}, sum${G});
#endrepeat
  }
  workgroupBarrier();

  for (var n = index; n < ${ITEMS}u; n += ${WG}u) {
    let g = n / ${DV4}u;
    var top = LOWEST;
    for (var r = 0u; r < ${RUNS}u; r++) {
      top = max(top, run_stats[r * ${GC}u + g].x);
    }
    var sum = 0.0;
    var acc = vec4<f32>(0.0);
    for (var r = 0u; r < ${RUNS}u; r++) {
      let stats = run_stats[r * ${GC}u + g];
      let weight = exp(stats.x - top);
      acc += weight * run_acc[r * ${ITEMS}u + n];
      sum += weight * stats.y;
    }
    if (first + g < params.group) {
      let head = (batch * params.kv_heads + kv_head) * params.group + first + g;
      let at = (head * params.splits + wid.y) * (${DV4}u + 1u);
      partials[at + n % ${DV4}u] = acc;
      if (n % ${DV4}u == 0u) {
        partials[at + ${DV4}u] = vec4<f32>(top, sum, 0.0, 0.0);
      }
    }
  }
}
