// Tiled attention on a GPU (flash attention: Dao et al. 2022): one workgroup of 16 x TY lanes per tile of
// BQ rows, where a row is one (query, head of the group) pair of one kv head: heads that share keys share
// the tile, and short prompts still fill it. Keys and values pass through workgroup memory BK at a time;
// every lane keeps RQ rows x RK scores and RQ rows of every 16th group of the output in registers.
#param RQ
#param RK
#param BQ        // TY * RQ
#param BK        // 16 * RK
#param WG        // 16 * TY
#param LANES     // that share a row's softmax: WG / BQ
#param D4        // groups of 4 in a row of q and k, rounded up
#param DV_STEPS  // groups of the output per lane: DV4 / 16, rounded up
#param PITCH     // of a row of the k tile in groups: odd against bank conflicts
#param KV_TILE   // groups of the k/v tile
#param BQ_D4     // products
#param BQ_BK
#param BK_D4
#param BK_DV4
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#include "attention_tile_store.wgsl"

var<workgroup> q_tile: array<vec4<f32>, ${BQ_D4}>;      // [row][group]
var<workgroup> kv_tile: array<vec4<f32>, ${KV_TILE}>;   // [key][group], pitch PITCH for k, DV4 for v
var<workgroup> scores: array<f32, ${BQ_BK}>;            // [row][key], then weights
var<workgroup> row_part: array<f32, ${WG}>;             // [row][LANES]
var<workgroup> row_fade: array<f32, ${BQ}>;
var<workgroup> row_sum: array<f32, ${BQ}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#include "attention_tile_place.wgsl"
  let tx = lane % 16u;
  let ty = lane / 16u;

  for (var n = lane; n < ${BQ_D4}u; n += ${WG}u) {
    let row = min(first_row + n / ${D4}u, rows - 1u);
    let head = kv_head * params.group + row % params.group;
    q_tile[n] = load_q(batch * params.q_batch + head * params.q_head + (row / params.group) * params.q_row,
                       n % ${D4}u) * params.scale;
  }
#repeat R RQ
#repeat J DV_STEPS
  var acc${R}_${J} = vec4<f32>(0.0);
#endrepeat
#endrepeat
#include "attention_tile_rows.wgsl"
  for (var begin = first_key; begin < tile_limit; begin += ${BK}u) {
    workgroupBarrier();
    for (var n = lane; n < ${BK_D4}u; n += ${WG}u) {
      kv_tile[(n / ${D4}u) * ${PITCH}u + n % ${D4}u] =
          load_k(k_base + min(begin + n / ${D4}u, last_key) * params.k_row, n % ${D4}u);
    }
    workgroupBarrier();
#repeat R RQ
#repeat C RK
    var s${R}_${C} = 0.0;
#endrepeat
#endrepeat
    for (var i = 0u; i < ${D4}u; i++) {
#repeat C RK
      let k${C} = kv_tile[(tx + ${C}u * 16u) * ${PITCH}u + i];
#endrepeat
#repeat R RQ
      let q${R} = q_tile[(ty * ${RQ}u + ${R}u) * ${D4}u + i];
#repeat C RK
      s${R}_${C} += dot(q${R}, k${C});
#endrepeat
#endrepeat
    }
#repeat R RQ
#repeat C RK
    scores[(ty * ${RQ}u + ${R}u) * ${BK}u + tx + ${C}u * 16u] = s${R}_${C};
#endrepeat
#endrepeat
    workgroupBarrier();

    // The v tile takes the k tile's place while the softmax runs on the scores.
    for (var n = lane; n < ${BK_DV4}u; n += ${WG}u) {
      let key = begin + n / ${DV4}u;
      let value = load_v(v_base + min(key, last_key) * params.v_row, n % ${DV4}u);
      kv_tile[n] = select(vec4<f32>(0.0), value, key <= last_key);
    }
    var part = top;
    for (var key = my_part; key < ${BK}u; key += ${LANES}u) {
      var score = scores[my_row * ${BK}u + key];
#if MASK
      score += load_mask(batch, my_head, my_query, min(begin + key, last_key));
      scores[my_row * ${BK}u + key] = score;
#endif
      if (begin + key < my_limit) {
        part = max(part, score);
      }
    }
    row_part[lane] = part;
    workgroupBarrier();
    var next = top;
    for (var n = 0u; n < ${LANES}u; n++) {
      next = max(next, row_part[my_row * ${LANES}u + n]);
    }
    let fade = exp(top - next);
    top = next;
    sum *= fade;
    for (var key = my_part; key < ${BK}u; key += ${LANES}u) {
      let score = scores[my_row * ${BK}u + key];
#if MASK
      let weight = select(UNIT * exp(score - next), 0.0, begin + key >= my_limit || score < LOWEST);
#else
      let weight = select(UNIT * exp(score - next), 0.0, begin + key >= my_limit);
#endif
      scores[my_row * ${BK}u + key] = weight;
      sum += weight;
    }
    if (my_part == 0u) {
      row_fade[my_row] = fade;
    }
    workgroupBarrier();

#repeat R RQ
    let fade${R} = row_fade[ty * ${RQ}u + ${R}u];
#repeat J DV_STEPS
    acc${R}_${J} *= fade${R};
#endrepeat
#endrepeat
    for (var key = 0u; key < ${BK}u; key++) {
#repeat J DV_STEPS
      let v${J} = kv_tile[key * ${DV4}u + min(tx + ${J}u * 16u, ${DV4}u - 1u)];
#endrepeat
#repeat R RQ
      let w${R} = scores[(ty * ${RQ}u + ${R}u) * ${BK}u + key];
#repeat J DV_STEPS
      acc${R}_${J} += w${R} * v${J};
#endrepeat
#endrepeat
    }
  }

  workgroupBarrier();
  row_part[lane] = sum;
  workgroupBarrier();
  if (my_part == 0u) {
    var total = 0.0;
    for (var n = 0u; n < ${LANES}u; n++) {
      total += row_part[lane + n];
    }
    row_sum[my_row] = total;
#if SPLIT
    if (first_row + my_row < rows) {
      partials[row_place(batch, my_head, my_query, wid.y) + ${DV4}u] = vec4<f32>(top, total, 0.0, 0.0);
    }
#endif
  }
  workgroupBarrier();
#repeat R RQ
  {
    let row = first_row + ty * ${RQ}u + ${R}u;
    if (row < rows) {
      let head = kv_head * params.group + row % params.group;
      let place = row_place(batch, head, row / params.group, wid.y);
#repeat J DV_STEPS
      if (tx + ${J}u * 16u < ${DV4}u) {
        store_group(place, tx + ${J}u * 16u, acc${R}_${J}, row_sum[ty * ${RQ}u + ${R}u]);
      }
#endrepeat
    }
  }
#endrepeat
}
