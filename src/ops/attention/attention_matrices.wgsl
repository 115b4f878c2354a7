// Tiled attention on a GPU with matrix units (flash attention: Dao et al. 2022): what attention_tiles does,
// with q, k, v and the weights rounded to f16 and multiplied in squares of MATRIX x MATRIX, whose sums are f32.
// One workgroup of four subgroups per tile of BQ rows, where a row is one (query, head of the group) pair of
// one kv head; a subgroup has MATRIX of the rows, and their part of the output in registers. Keys and values pass
// through workgroup memory KEYS at a time, fetched into registers before the sums that hide their latency.
// Results of the matrix units can only be scaled row by row in memory. So the maximum that a row's weights are
// relative to may lag behind by SLACK: only when it falls back further are the sums so far scaled, which is rare
// after the first keys. Needs VEC 1 and D = DV, a multiple of 32.
#param MATRIX : 8 | 16
#param SUBGROUP           // its invocations
#param WG                 // 4 * SUBGROUP
#param BQ                 // 4 * MATRIX
#param KEYS               // a multiple of 32, at most BQ
#param D4                 // groups of 4 in a row
#param SQUARES            // of KEYS keys: KEYS / MATRIX
#param DEPTHS             // D / MATRIX
#param STEPS              // D / 32
#param PER_STEP           // 32 / MATRIX
#param LANES : 1 | 2 | 4  // that share a row: SUBGROUP / MATRIX
#param SCORES             // of a row per lane: KEYS / LANES
#param ITEMS              // groups of 32 elements per lane: 8 / LANES
#param STAGED             // groups of keys per lane: KEYS * D4 / WG
#requires f16
#requires subgroups
#requires subgroup_matrix
#include "attention_common.wgsl"
#include "attention_load.wgsl"
#include "attention_tile_store.wgsl"
#include "half.wgsl"
// Indices of workgroup memory are plain to see here, not in functions: else each would be clamped.
alias Left = subgroup_matrix_left<f16, ${MATRIX}, ${MATRIX}>;
alias Right = subgroup_matrix_right<f16, ${MATRIX}, ${MATRIX}>;
// Variables of it begin as Sums(), written out: without it, one in a loop kept what the round before left
// (seen with Dawn on lavapipe).
alias Sums = subgroup_matrix_result<f32, ${MATRIX}, ${MATRIX}>;

const SLACK = 8.0;  // e^8 and its sums are well within f16
// Pitches of rows, such that they begin in different banks.
const PITCH = ${D}u + 8u;
const WEIGHT_PITCH = ${KEYS}u + 8u;
const SCORE_PITCH = ${KEYS}u + 4u;
var<workgroup> staged: array<f16, ${BQ}u * PITCH>;            // first q, then keys, then values: [row][element]
var<workgroup> scores: array<f32, ${BQ}u * SCORE_PITCH>;    // [row][key], or 32 elements of rows of the output
var<workgroup> weights: array<f16, ${BQ}u * WEIGHT_PITCH>;  // [row][key]
var<workgroup> fell_back: array<u32, 4>;                    // by subgroup: whether its maxima did, too far

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#include "attention_tile_place.wgsl"
#include "attention_tile_rows.wgsl"
  let subgroup = lane / ${SUBGROUP}u;
  let my_rows = subgroup * ${MATRIX}u;  // the subgroup's first row of the tile

  for (var n = lane; n < ${BQ}u * ${D4}u; n += ${WG}u) {
    let row = min(first_row + n / ${D4}u, rows - 1u);
    let head = kv_head * params.group + row % params.group;
    let part = load_q(batch * params.q_batch + head * params.q_head + (row / params.group) * params.q_row, n % ${D4}u);
    let value = vec4<f16>(within_half(part * params.scale));
#repeat J 4
    staged[n / ${D4}u * PITCH + n % ${D4}u * 4u + ${J}u] = value[${J}];
#endrepeat
  }
  workgroupBarrier();
#repeat K DEPTHS
  let q${K} = subgroupMatrixLoad<Left, row_major>(&staged, my_rows * PITCH + ${K}u * ${MATRIX}u, PITCH);
#endrepeat
#repeat S STEPS
#repeat J PER_STEP
  var acc_${S}_${J} = Sums();
#endrepeat
#endrepeat
#repeat N STAGED
  let key${N} = (lane + ${N}u * ${WG}u) / ${D4}u;
  let i${N} = (lane + ${N}u * ${WG}u) % ${D4}u;
  var fetched${N} = load_k(k_base + min(first_key + key${N}, last_key) * params.k_row, i${N});
#endrepeat
  for (var begin = first_key; begin < tile_limit; begin += ${KEYS}u) {
    workgroupBarrier();
#include "attention_stage.wgsl"
    workgroupBarrier();
#repeat N STAGED
    fetched${N} = load_v(v_base + min(begin + key${N}, last_key) * params.v_row, i${N});
#endrepeat
#repeat C SQUARES
    {
      var s = Sums();
#repeat K DEPTHS
      s = subgroupMatrixMultiplyAccumulate(
          q${K}, subgroupMatrixLoad<Right, col_major>(&staged, ${C}u * ${MATRIX}u * PITCH + ${K}u * ${MATRIX}u, PITCH),
          s);
#endrepeat
      subgroupMatrixStore<row_major>(&scores, my_rows * SCORE_PITCH + ${C}u * ${MATRIX}u, s, SCORE_PITCH);
    }
#endrepeat
    workgroupBarrier();

    // The values take the keys' place, and the next keys are fetched, while the softmax runs on the scores.
    if (begin + ${KEYS}u > tile_limit) {
#repeat N STAGED
      fetched${N} = select(vec4<f32>(0.0), fetched${N}, begin + key${N} < tile_limit);
#endrepeat
    }
#include "attention_stage.wgsl"
    let next_begin = begin + ${KEYS}u;
    if (next_begin < tile_limit) {
#repeat N STAGED
      fetched${N} = load_k(k_base + min(next_begin + key${N}, last_key) * params.k_row, i${N});
#endrepeat
    }
    var most = LOWEST;
#repeat S SCORES
    let at${S} = begin + my_part + ${S}u * ${LANES}u;
    var score${S} = scores[my_row * SCORE_PITCH + my_part + ${S}u * ${LANES}u];
#if MASK
    score${S} += load_mask(batch, my_head, my_query, min(at${S}, last_key));
    let hidden${S} = at${S} >= my_limit || score${S} < LOWEST;
#else
    let hidden${S} = at${S} >= my_limit;
#endif
    most = max(most, select(score${S}, LOWEST, hidden${S}));
#endrepeat
#if LANES != 1
    most = max(most, subgroupShuffleXor(most, 1u));
#if LANES != 2
    most = max(most, subgroupShuffleXor(most, 2u));
#endif
#endif
    let fell = subgroupAny(most > top + SLACK);
    if (lane % ${SUBGROUP}u == 0u) {
      fell_back[subgroup] = u32(fell);
    }
    let next = select(top, max(top, most), fell);
    let fade = exp(top - next);
    top = next;
    sum *= fade;
#repeat S SCORES
    {
      let weight = select(exp(score${S} - top), 0.0, hidden${S});
      weights[my_row * WEIGHT_PITCH + my_part + ${S}u * ${LANES}u] = f16(weight);
      sum += weight;
    }
#endrepeat
    let all_fell_back = workgroupUniformLoad(&fell_back);
    if ((all_fell_back[0] | all_fell_back[1] | all_fell_back[2] | all_fell_back[3]) != 0u) {
#repeat S STEPS
#repeat J PER_STEP
      subgroupMatrixStore<row_major>(&scores, my_rows * SCORE_PITCH + ${J}u * ${MATRIX}u, acc_${S}_${J}, SCORE_PITCH);
#endrepeat
      workgroupBarrier();
#repeat T ITEMS
      {
        let at = my_row * SCORE_PITCH + (my_part + ${T}u * ${LANES}u) * 4u;
#repeat J 4
        scores[at + ${J}u] *= fade;
#endrepeat
      }
#endrepeat
      workgroupBarrier();
#repeat J PER_STEP
      acc_${S}_${J} = subgroupMatrixLoad<Sums, row_major>(
          &scores, my_rows * SCORE_PITCH + ${J}u * ${MATRIX}u, SCORE_PITCH);
#endrepeat
      workgroupBarrier();
#endrepeat
    }
#repeat K SQUARES
    {
      let weight = subgroupMatrixLoad<Left, row_major>(
          &weights, my_rows * WEIGHT_PITCH + ${K}u * ${MATRIX}u, WEIGHT_PITCH);
#repeat S STEPS
#repeat J PER_STEP
      acc_${S}_${J} = subgroupMatrixMultiplyAccumulate(
          weight,
          subgroupMatrixLoad<Right, row_major>(
              &staged, ${K}u * ${MATRIX}u * PITCH + ${S}u * 32u + ${J}u * ${MATRIX}u, PITCH),
          acc_${S}_${J});
#endrepeat
#endrepeat
    }
#endrepeat
  }

#if LANES != 1
  sum += subgroupShuffleXor(sum, 1u);
#if LANES != 2
  sum += subgroupShuffleXor(sum, 2u);
#endif
#endif
  let row = first_row + my_row;
  let place = row_place(batch, my_head, my_query, wid.y);
#if SPLIT
  if (row < rows && my_part == 0u) {
    partials[place + ${D4}u] = vec4<f32>(top, sum, 0.0, 0.0);
  }
#endif
#repeat S STEPS
  workgroupBarrier();
#repeat J PER_STEP
  subgroupMatrixStore<row_major>(&scores, my_rows * SCORE_PITCH + ${J}u * ${MATRIX}u, acc_${S}_${J}, SCORE_PITCH);
#endrepeat
  workgroupBarrier();
  if (row < rows) {
#repeat T ITEMS
    {
      let i = my_part + ${T}u * ${LANES}u;
      let at = my_row * SCORE_PITCH + i * 4u;
      let value = vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
      store_group(place, ${S}u * 8u + i, value, sum);
    }
#endrepeat
  }
#endrepeat
}
