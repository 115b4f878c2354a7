// Matrix product of a few rows on a GPU: ROWS rows of x are staged in workgroup memory, scaled, for all columns of the
// workgroup, and a weight is converted once for all of them. An invocation has four neighbouring columns of one of the
// SLICES of K; a slice is taken in units of UNIT steps, of which the next one's weights are on their way while one is
// multiplied. With SPLITS, as many workgroups have a part of K each, and gemm_join adds up what they leave.
#param ROWS : 2 | 4 | 8
#param MATS : 1 | 2    // groups of four columns of an invocation: of a gate and its up if GATED
#param LOADS           // words of a step
#param HALVES          // groups of four elements of K in a step
#param UNIT : 1 | 2    // steps, of one scale group, and a divisor of all
#param UNITS           // of a slice that are staged at a time
#param WG              // LANES * SLICES; a multiple of ROWS
#param LANES           // a power of two
#param SLICES
#param X_TASKS         // groups of four elements that an invocation stages at a time
#param ROUND           // rows whose sums have room in workgroup memory at a time; WG is at least ROUND * LANES
#param SPLITS
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#if SPLITS == 1
#include "gemm_results.wgsl"
#else
@group(0) @binding(sums) var<storage, read_write> sums: array<F4>;  // [split][row of the blocks][column of the blocks]
#if NORM
@group(0) @binding(squares) var<storage, read_write> split_squares: array<f32>;  // [split][row of the blocks]
#endif
#endif

const STAGERS = ${WG}u / ${ROWS}u;                      // invocations that stage a row
const UNIT_QUADS = ${UNIT}u * ${HALVES}u;               // of x, for a slice
const UNIT_STEPS = ${SLICES}u * ${UNIT}u;               // of all slices
const CHUNK_QUADS = ${UNITS}u * ${SLICES}u * UNIT_QUADS;
const ROW_SUMS = ${MATS}u * ${LANES}u;
// First x, [UNITS][ROWS][UNIT_QUADS][SLICES], then sums, [SLICES][ROUND][MATS][LANES].
var<workgroup> memory: array<F4, max(${ROWS}u * CHUNK_QUADS, ${SLICES}u * ${ROUND}u * ROW_SUMS)>;
#if NORM
var<workgroup> squares: array<f32, ${WG}u>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.blocks * params.row_blocks * ${SPLITS}u) {
    return;
  }
  let split = group % ${SPLITS}u;
  let row_block = group / ${SPLITS}u % params.row_blocks;
  let block = group / ${SPLITS}u / params.row_blocks;
  let first_row = row_block * ${ROWS}u;
  let lane = index % ${LANES}u;
  let slice = index / ${LANES}u;
#repeat M MATS
#if GATED
  let quad${M} = block * ${LANES}u + lane;
  let panel${M} = quad${M} / 16u + params.pair_panels * ${M}u;
#else
  let quad${M} = (block * ${MATS}u + ${M}u) * ${LANES}u + lane;
  let panel${M} = quad${M} / 16u;
#endif
  let base${M} = panel${M} * params.words * 16u + quad${M} % 16u;
#endrepeat
  let begin = split * params.split_steps;
  let end = min(begin + params.split_steps, params.steps);
  let stager = index % STAGERS;
  let staged_row = index / STAGERS;
  let row = find_row(min(first_row + staged_row, params.rows - 1u));
#if NORM
  var square = 0.0;
#endif
#repeat M MATS
#repeat R ROWS
  var sum${M}_${R} = F4(0.0);
#endrepeat
#endrepeat
  var step = begin + slice * ${UNIT}u;
  var known = min(step, params.steps - ${UNIT}u);
#repeat M MATS
#repeat U UNIT
#repeat L LOADS
  var next${M}_${L}_${U} = weights[base${M} + ((known + ${U}u) * ${LOADS}u + ${L}u) * 16u];
#endrepeat
#endrepeat
  var next_scale${M} = scale_words(panel${M}, quad${M} % 16u, known / params.group_steps);
#endrepeat
  let last_quad = end * ${HALVES}u - 1u;
#repeat T X_TASKS
  let part${T} = ${T}u * STAGERS + stager;
  var raw${T} = row_quad(row, min(begin * ${HALVES}u + part${T}, last_quad));
#endrepeat
  for (var first = begin; first < end; first += ${UNITS}u * UNIT_STEPS) {
    let first_quad = first * ${HALVES}u;
    workgroupBarrier();  // the chunk before has been read
#repeat T X_TASKS
    if (part${T} < CHUNK_QUADS && first_quad + part${T} <= last_quad) {
#if NORM
      square += dot(raw${T}, raw${T});
      let normed = raw${T} * norm_weight[first_quad + part${T}];
#else
      let normed = raw${T};
#endif
      let unit = part${T} / (${SLICES}u * UNIT_QUADS);
      let of_slice = part${T} / UNIT_QUADS % ${SLICES}u;
      memory[((unit * ${ROWS}u + staged_row) * UNIT_QUADS + part${T} % UNIT_QUADS) * ${SLICES}u + of_slice] =
          in_place(normed);
    }
#endrepeat
    workgroupBarrier();
#repeat T X_TASKS
    raw${T} = row_quad(row, min(first_quad + CHUNK_QUADS + part${T}, last_quad));  // while this chunk is multiplied
#endrepeat
    for (var unit = 0u; unit < ${UNITS}u; unit++) {
      let within = step < end;
#repeat M MATS
      let scale${M} = scale_of(next_scale${M}, known / params.group_steps);
#endrepeat
      step += UNIT_STEPS;
      known = min(step, params.steps - ${UNIT}u);
#repeat M MATS
#repeat U UNIT
#repeat L LOADS
      let q${M}_${L}_${U} = next${M}_${L}_${U};
      next${M}_${L}_${U} = weights[base${M} + ((known + ${U}u) * ${LOADS}u + ${L}u) * 16u];
#endrepeat
#endrepeat
      next_scale${M} = scale_words(panel${M}, quad${M} % 16u, known / params.group_steps);
#endrepeat
      if (within) {
#repeat U UNIT
#repeat H HALVES
        {
#repeat R ROWS
          let elements${R} = memory[((unit * ${ROWS}u + ${R}u) * UNIT_QUADS + ${U}u * ${HALVES}u + ${H}u) * ${SLICES}u + slice];
#endrepeat
#include "step_sums.wgsl"
        }
#endrepeat
#endrepeat
      }
    }
  }

#if NORM
  squares[index] = square;
#endif
  let out_row = index / ${LANES}u;  // of a round
  for (var round = 0u; round < ${ROWS}u; round += ${ROUND}u) {
    workgroupBarrier();  // what was there has been read
#repeat R ROWS
    if (${R}u / ${ROUND}u * ${ROUND}u == round) {
#repeat M MATS
      memory[(slice * ${ROUND}u + ${R}u % ${ROUND}u) * ROW_SUMS + ${M}u * ${LANES}u + lane] = sum${M}_${R};
#endrepeat
    }
#endrepeat
    workgroupBarrier();
    let row_of_block = round + out_row;
#if SPLITS == 1
    if (out_row < ${ROUND}u && first_row + row_of_block < params.rows) {
#else
    if (out_row < ${ROUND}u) {
#endif
#repeat M MATS
      var total${M} = F4(0.0);
#endrepeat
      for (var s = out_row * ROW_SUMS + lane; s < ${SLICES}u * ${ROUND}u * ROW_SUMS; s += ${ROUND}u * ROW_SUMS) {
#repeat M MATS
        total${M} += memory[s + ${M}u * ${LANES}u];
#endrepeat
      }
#if NORM
      var all_squares = 0.0;
      for (var s = 0u; s < STAGERS; s++) {
        all_squares += squares[row_of_block * STAGERS + s];
      }
#endif
#if SPLITS == 1
#if NORM
      let norm = inverseSqrt(all_squares / f32(params.k) + params.eps);
#else
      const norm = 1.0;
#endif
#if GATED
      finish(first_row + row_of_block, params.first_panel * 16u + quad0, total0 * norm, total1 * norm);
#else
#repeat M MATS
      finish(first_row + row_of_block, params.first_panel * 16u + quad${M}, total${M} * norm, F4(0.0));
#endrepeat
#endif
#else
      let stored_row = (split * params.row_blocks + row_block) * ${ROWS}u + row_of_block;
      let at = (stored_row * params.blocks + block) * ROW_SUMS + lane;
#repeat M MATS
      sums[at + ${M}u * ${LANES}u] = total${M};
#endrepeat
#if NORM
      if (block == 0u && lane == 0u) {
        split_squares[stored_row] = all_squares;
      }
#endif
#endif
    }
  }
}
