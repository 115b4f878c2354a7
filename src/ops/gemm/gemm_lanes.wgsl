// Matrix product for many rows on software adapters: an invocation owns ROWS rows and SETS x 4 output columns (of
// a gate and its up, if GATED). No barriers: a CPU runs neighbouring invocations as SIMD lanes.
// A load goes lane by lane there and costs as much as many products, so each is used for many: a weight for
// all rows, and an element of x, of which each lane fetches other ones, by all lanes. The products of one sum
// follow each other, so that what does not fit a CPU's registers is stored once for all of them.
#param WG
#param SETS : 1 | 2
#param ROWS
#param GATHERS            // fetches of x
#param PER_GATHER         // rows of each
#param LANES : 0 | 4 | 8  // that share x: each fetches one group for its row; 0: every invocation loads x itself
#param SHUFFLE : 0 | 1    // lanes exchange by shuffles, 0: by broadcasts
#if LANES
#requires subgroups
#endif
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
#if LANES
        @builtin(subgroup_invocation_id) lane: u32,
#endif
        @builtin(local_invocation_index) column: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.blocks * params.row_blocks) {
    return;
  }
  // Workgroups of one panel follow each other: its weights stay in the cache.
  let block = group / params.row_blocks;
  let first_row = (group - block * params.row_blocks) * ${ROWS}u;
#include "gemm_lanes_place.wgsl"
#if LANES
  let x_quad = lane % ${HALVES}u;
  let x_row = first_row + lane % ${LANES}u / ${HALVES}u;
#endif
#repeat G GATHERS
#if LANES
  let row${G} = find_row(min(x_row + ${G}u * ${PER_GATHER}u, params.rows - 1u));
#if NORM
  var square${G} = 0.0;
#endif
#endif
#repeat P PER_GATHER
#if LANES == 0
  let row${G}_${P} = find_row(min(first_row + ${G}u * ${PER_GATHER}u + ${P}u, params.rows - 1u));
#if NORM
  var square${G}_${P} = 0.0;
#endif
#endif
#repeat S SETS
  var total${S}_${G}_${P} = F4(0.0);
#endrepeat
#endrepeat
#endrepeat
  for (var group = 0u; group < params.groups; group++) {
#repeat S SETS
#if SCALES
    let s${S} = scale_quad(panel${S}, quad${S} % 16u, group);
#else
    const s${S} = 1.0;
#endif
#endrepeat
    let end = (group + 1u) * params.group_steps;
    for (var step = group * params.group_steps; step < end; step++) {
#if LANES
#if NORM
      let gain = norm_weight[step * ${HALVES}u + x_quad] * PLACES;
#endif
#repeat G GATHERS
#if NORM
      let raw${G} = row_quad(row${G}, step * ${HALVES}u + x_quad);
      square${G} += dot(raw${G}, raw${G});
      let x${G} = raw${G} * gain;
#else
      let x${G} = row_quad(row${G}, step * ${HALVES}u + x_quad) * PLACES;
#endif
#endrepeat
#else
#if NORM
#repeat F HALVES
      let gain${F} = norm_weight[step * ${HALVES}u + ${F}u] * PLACES;
#endrepeat
#endif
#endif
#include "gemm_lanes_weights.wgsl"
#repeat G GATHERS
#repeat P PER_GATHER
      {
#repeat F HALVES
#if LANES == 0
#if NORM
        let raw${F} = row_quad(row${G}_${P}, step * ${HALVES}u + ${F}u);
        square${G}_${P} += dot(raw${F}, raw${F});
        let x${F} = raw${F} * gain${F};
#else
        let x${F} = row_quad(row${G}_${P}, step * ${HALVES}u + ${F}u) * PLACES;
#endif
#endif
#repeat E 4
#if LANES == 0
        let e${F}_${E} = x${F}[${E}];
#else
#if SHUFFLE
        let e${F}_${E} = subgroupShuffle(x${G}[${E}], ${P}u * ${HALVES}u + ${F}u);
#else
        let e${F}_${E} = subgroupBroadcast(x${G}[${E}], ${P}u * ${HALVES}u + ${F}u);
#endif
#endif
#endrepeat
#endrepeat
#repeat S SETS
        var sum${S} = total${S}_${G}_${P};
#repeat F HALVES
#repeat E 4
        sum${S} += e${F}_${E} * w${S}_${F}_${E};
#endrepeat
#endrepeat
        total${S}_${G}_${P} = sum${S};
#endrepeat
      }
#endrepeat
#endrepeat
    }
  }
#if NORM
#repeat G GATHERS
#repeat P PER_GATHER
  {
#if LANES
    var square = 0.0;
#repeat F HALVES
    square += subgroupBroadcast(square${G}, ${P}u * ${HALVES}u + ${F}u);
#endrepeat
#else
    let square = square${G}_${P};
#endif
    let norm = inverseSqrt(square / f32(params.k) + params.eps);
#repeat S SETS
    total${S}_${G}_${P} *= norm;
#endrepeat
  }
#endrepeat
#endrepeat
#endif
  // A loop, for what writes a row is long, and a CPU would have to fetch it again for each.
  let first_quad = params.first_panel * 16u;
  let rows = min(${ROWS}u, params.rows - first_row);
  for (var r = 0u; r < rows; r++) {
#repeat S SETS
    var out${S} = F4(0.0);
#repeat G GATHERS
#repeat P PER_GATHER
    out${S} = select(out${S}, total${S}_${G}_${P}, r == ${G}u * ${PER_GATHER}u + ${P}u);
#endrepeat
#endrepeat
#endrepeat
#if GATED
    finish(first_row + r, first_quad + quad0, out0, out1);
#else
#repeat S SETS
    finish(first_row + r, first_quad + quad${S}, out${S}, F4(0.0));
#endrepeat
#endif
  }
}
