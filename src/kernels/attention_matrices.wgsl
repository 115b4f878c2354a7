// Tiled attention on a GPU with matrix units (flash attention: Dao et al. 2022): what attention_tiles does,
// with q, k, v and the weights rounded to f16 and multiplied in squares of MATRIX x MATRIX, whose sums are f32.
// One workgroup of four subgroups per tile of BQ rows, where a row is one (query, head of the group) pair of
// one kv head; a subgroup has MATRIX of the rows. Keys and values pass through workgroup memory 32 at a time.
// Results of the matrix units can only be scaled row by row in memory, so each block's part of the output
// goes through it, 32 elements of a row at a time, to sums in registers.
// Parameters: those of attention_common (VEC = 1, D = DV, a multiple of 32), MATRIX (8 or 16), SUBGROUP
// (invocations), WG (4 * SUBGROUP), BQ (4 * MATRIX), SQUARES (of 32 elements: 32 / MATRIX), DEPTHS (D / MATRIX),
// STEPS (D / 32), ITEMS (groups of 32 elements of a subgroup's rows per lane: 8 * MATRIX / SUBGROUP), LANES
// (lanes that share a row's softmax: WG / BQ).
#requires f16
#requires subgroup_matrix
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#include "attention_store.wgsl"
alias Left = subgroup_matrix_left<f16, ${MATRIX}, ${MATRIX}>;
alias Right = subgroup_matrix_right<f16, ${MATRIX}, ${MATRIX}>;
// Variables of it begin as Sums(), written out: without it, one in a loop kept what the round before left
// (seen with Dawn on lavapipe).
alias Sums = subgroup_matrix_result<f32, ${MATRIX}, ${MATRIX}>;

// Pitches of rows, such that they begin in different banks.
const PITCH = ${D}u + 8u;
const WEIGHT_PITCH = 40u;
const SCORE_PITCH = 36u;
var<workgroup> q_tile: array<f16, ${BQ}u * PITCH>;         // [row][element]
var<workgroup> kv_tile: array<f16, 32u * PITCH>;           // [key][element]
var<workgroup> scores: array<f32, ${BQ}u * SCORE_PITCH>;   // [row][key], then [row][element of 32]
var<workgroup> weights: array<f16, ${BQ}u * WEIGHT_PITCH>; // [row][key]
var<workgroup> row_part: array<f32, ${WG}>;                // [row][LANES]
var<workgroup> row_fade: array<f32, ${BQ}>;
var<workgroup> row_sum: array<f32, ${BQ}>;

// f16, which ends at 65504.
fn rounded(group: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(clamp(group, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

fn stage_kv(key: u32, i: u32, group: vec4<f32>) {
  let value = rounded(group);
#repeat J 4
  kv_tile[key * PITCH + i * 4u + ${J}u] = value[${J}];
#endrepeat
}

const KEYS = 32u;
fn store_weight(row: u32, key: u32, weight: f32) {
  weights[row * WEIGHT_PITCH + key] = f16(weight);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#include "attention_tile_place.wgsl"
  let my_rows = lane / ${SUBGROUP}u * ${MATRIX}u;  // the subgroup's first row of the tile
  let subgroup_lane = lane % ${SUBGROUP}u;

  for (var n = lane; n < ${BQ}u * ${D4}u; n += ${WG}u) {
    let row = min(first_row + n / ${D4}u, rows - 1u);
    let head = kv_head * params.group + row % params.group;
    let value = rounded(load_q(batch * params.q_batch + head * params.q_head +
                               (row / params.group) * params.q_row, n % ${D4}u) * params.scale);
#repeat J 4
    q_tile[n / ${D4}u * PITCH + n % ${D4}u * 4u + ${J}u] = value[${J}];
#endrepeat
  }
#repeat S STEPS
#repeat T ITEMS
  var acc${S}_${T} = vec4<f32>(0.0);
#endrepeat
#endrepeat
#include "attention_tile_rows.wgsl"
  for (var begin = 0u; begin < tile_limit; begin += 32u) {
    workgroupBarrier();
    for (var n = lane; n < 32u * ${D4}u; n += ${WG}u) {
      let key = n / ${D4}u;
      stage_kv(key, n % ${D4}u, load_k(k_base + min(begin + key, last_key) * params.k_row, n % ${D4}u));
    }
    workgroupBarrier();
#repeat C SQUARES
    {
      var s = Sums();
#repeat K DEPTHS
      s = subgroupMatrixMultiplyAccumulate(
          subgroupMatrixLoad<Left>(&q_tile, my_rows * PITCH + ${K}u * ${MATRIX}u, false, PITCH),
          subgroupMatrixLoad<Right>(&kv_tile, ${C}u * ${MATRIX}u * PITCH + ${K}u * ${MATRIX}u, true, PITCH), s);
#endrepeat
      subgroupMatrixStore(&scores, my_rows * SCORE_PITCH + ${C}u * ${MATRIX}u, s, false, SCORE_PITCH);
    }
#endrepeat
    workgroupBarrier();

    // The v tile takes the k tile's place while the softmax runs on the scores.
    for (var n = lane; n < 32u * ${D4}u; n += ${WG}u) {
      let key = n / ${D4}u;
      stage_kv(key, n % ${D4}u, load_v(v_base + min(begin + key, last_key) * params.v_row, n % ${D4}u));
    }
#include "attention_tile_softmax.wgsl"

#repeat S STEPS
#repeat C SQUARES
    {
      var s = Sums();
#repeat K SQUARES
      s = subgroupMatrixMultiplyAccumulate(
          subgroupMatrixLoad<Left>(&weights, my_rows * WEIGHT_PITCH + ${K}u * ${MATRIX}u, false, WEIGHT_PITCH),
          subgroupMatrixLoad<Right>(&kv_tile, ${K}u * ${MATRIX}u * PITCH + ${S}u * 32u + ${C}u * ${MATRIX}u, false,
                                    PITCH), s);
#endrepeat
      subgroupMatrixStore(&scores, my_rows * SCORE_PITCH + ${C}u * ${MATRIX}u, s, false, SCORE_PITCH);
    }
#endrepeat
    workgroupBarrier();
#repeat T ITEMS
    {
      let item = subgroup_lane + ${T}u * ${SUBGROUP}u;
      let row = my_rows + item / 8u;
      let at = row * SCORE_PITCH + item % 8u * 4u;
      acc${S}_${T} = acc${S}_${T} * row_fade[row] +
                     vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
    }
#endrepeat
    workgroupBarrier();
#endrepeat
  }

#include "attention_tile_sums.wgsl"
#repeat T ITEMS
  {
    let item = subgroup_lane + ${T}u * ${SUBGROUP}u;
    let in_tile = my_rows + item / 8u;
    let row = first_row + in_tile;
    if (row < rows) {
      let head = kv_head * params.group + row % params.group;
      let base = batch * params.out_batch + head * params.out_head + (row / params.group) * params.out_row;
#repeat S STEPS
      store_out(base, ${S}u * 8u + item % 8u, normalized(acc${S}_${T}, row_sum[in_tile]));
#endrepeat
    }
  }
#endrepeat
}
