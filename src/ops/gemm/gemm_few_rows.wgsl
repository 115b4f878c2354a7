// Matrix product of a few rows on a GPU: as gemm_slices, but ROWS rows of x are staged in workgroup memory, scaled and
// normed once for all columns of the workgroup, and a weight is converted once for all of them. A chunk of K is UNIT
// steps for each slice; its weights are on their way while x is staged.
#param ROWS : 2 | 4
#param MATS = 1 : 1    // a gate's columns and its up's belong to different lanes
#param LOADS           // words of a step
#param HALVES          // groups of four elements of K in a step
#param UNIT : 1 | 2 | 4  // steps, of one scale group, and a divisor of all
#param WG              // LANES * SLICES; at least ROWS * LANES
#param LANES           // a power of two, of which a gate has half if GATED
#param SLICES
#param RUN             // neighbours that are surely in one subgroup, at least LANES; 0: no subgroups
#param SUMS            // of an output, to be joined: WG / RUN, or SLICES
#if RUN != 0
#requires subgroups
#endif
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

const OUTPUTS = ${ROWS}u * ${LANES}u;
const STAGERS = ${WG}u / ${ROWS}u;                    // invocations that stage a row
const UNIT_QUADS = ${UNIT}u * ${HALVES}u;             // of x, for a slice of a chunk
const CHUNK_QUADS = ${SLICES}u * UNIT_QUADS;
#if GATED
const BLOCK_QUADS = ${LANES}u / 2u;                   // columns by four
#else
const BLOCK_QUADS = ${LANES}u;
#endif
// First x, [ROWS][UNIT_QUADS][SLICES], so that neighbouring slices read neighbours; then sums, [SUMS][ROWS][LANES].
var<workgroup> memory: array<F4, max(${ROWS}u * CHUNK_QUADS, ${SUMS}u * OUTPUTS)>;
#if NORM
var<workgroup> squares: array<f32, ${WG}u>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.blocks * params.row_blocks) {
    return;
  }
  let block = group / params.row_blocks;
  let first_row = (group - block * params.row_blocks) * ${ROWS}u;
  let lane = index % ${LANES}u;
  let slice = index / ${LANES}u;
  let local_quad = block * BLOCK_QUADS + lane % BLOCK_QUADS;
  let panel = local_quad / 16u + params.pair_panels * (lane / BLOCK_QUADS);
  let base = panel * params.words * 16u + local_quad % 16u;
  let staged_row = index / STAGERS;
  let row = find_row(min(first_row + staged_row, params.rows - 1u));
#if NORM
  var square = 0.0;
#endif
#repeat R ROWS
  var total${R} = F4(0.0);
#endrepeat
  for (var first = 0u; first < params.steps; first += ${SLICES}u * ${UNIT}u) {
    let step = first + slice * ${UNIT}u;
    let within = step < params.steps;
    let known = select(0u, step, within);
#repeat U UNIT
#repeat L LOADS
    let q0_${L}_${U} = weights[base + ((known + ${U}u) * ${LOADS}u + ${L}u) * 16u];
#endrepeat
#endrepeat
#if SCALES
    let scale = scales[(panel * params.groups + known / params.group_steps) * 16u + local_quad % 16u];
#else
    const scale = 1.0;
#endif
    workgroupBarrier();  // the chunk before has been read
    let quads = min(CHUNK_QUADS, (params.steps - first) * ${HALVES}u);
    for (var quad = index % STAGERS; quad < quads; quad += STAGERS) {
      let raw = row_quad(row, first * ${HALVES}u + quad);
#if NORM
      square += dot(raw, raw);
      let normed = raw * norm_weight[first * ${HALVES}u + quad];
#else
      let normed = raw;
#endif
      memory[(staged_row * UNIT_QUADS + quad % UNIT_QUADS) * ${SLICES}u + quad / UNIT_QUADS] = in_place(normed);
    }
    workgroupBarrier();
    if (within) {
#repeat R ROWS
      var sum0_${R} = F4(0.0);
#endrepeat
#repeat U UNIT
#repeat H HALVES
      {
#repeat R ROWS
        let elements${R} = memory[(${R}u * UNIT_QUADS + ${U}u * ${HALVES}u + ${H}u) * ${SLICES}u + slice];
#endrepeat
#include "step_sums.wgsl"
      }
#endrepeat
#endrepeat
#repeat R ROWS
      total${R} += sum0_${R} * scale;
#endrepeat
    }
  }

#if RUN != 0
  for (var stride = ${LANES}u; stride < ${RUN}u; stride *= 2u) {
#repeat R ROWS
    total${R} += subgroupShuffleXor(total${R}, stride);
#endrepeat
  }
  let holds_sum = index % ${RUN}u < ${LANES}u;
  let at = index / ${RUN}u * OUTPUTS + lane;
#else
  const holds_sum = true;
  let at = slice * OUTPUTS + lane;
#endif
  workgroupBarrier();  // x has been read
  if (holds_sum) {
#repeat R ROWS
    memory[at + ${R}u * ${LANES}u] = total${R};
#endrepeat
  }
#if NORM
  squares[index] = square;
#endif
  workgroupBarrier();
  let out_row = index / ${LANES}u;
  if (index >= OUTPUTS || first_row + out_row >= params.rows || lane >= BLOCK_QUADS) {
    return;
  }
  var sums = F4(0.0);
#if GATED
  var up = F4(0.0);
#else
  const up = F4(0.0);
#endif
  for (var s = index; s < ${SUMS}u * OUTPUTS; s += OUTPUTS) {
    sums += memory[s];
#if GATED
    up += memory[s + BLOCK_QUADS];
#endif
  }
#if NORM
  var all_squares = 0.0;
  for (var s = out_row * STAGERS; s < (out_row + 1u) * STAGERS; s++) {
    all_squares += squares[s];
  }
  let norm = inverseSqrt(all_squares / f32(params.k) + params.eps);
#else
  const norm = 1.0;
#endif
  finish(first_row + out_row, params.first_panel * 16u + local_quad, sums * norm, up * norm);
}
