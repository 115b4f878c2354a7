// Linear layer for many rows on a GPU. A workgroup computes TILE rows x one panel (64 columns; if GATED 32
// columns of each matrix): 32 elements of K at a time, x and the converted weights are staged in workgroup
// memory with K outermost, and each invocation sums 4 * VECTORS rows x 8 columns in registers.
// Parameters: those of linear_params, TILE (16, 32, 64 or 128), VECTORS (1 or 2), WG (2 * TILE / VECTORS),
// WORDS (per output row in 32 elements).
#include "linear_params.wgsl"
#if WEIGHT == f16
#include "linear_half.wgsl"
#endif

const QUADS = ${TILE}u / 4u;       // rows by four
const STRIDE = QUADS / ${VECTORS}u;  // between an invocation's row quads
var<workgroup> tile_x: array<F4, 32u * QUADS>;
var<workgroup> tile_w: array<F4, 32u * 16u>;

// Words of four of the block's columns; x: the offset of their panel in panels, y: the column quad in it.
fn place(block: u32, quad: u32) -> vec2<u32> {
#if GATED
  return vec2<u32>(block / 2u + quad / 8u * params.pair_panels, block % 2u * 8u + quad % 8u);
#else
  return vec2<u32>(block, quad);
#endif
}

fn stage_weights(block: u32, first: u32, index: u32) {
  for (var i = index; i < ${WORDS}u * 16u; i += ${WG}u) {
    let at = place(block, i % 16u);
    let word = first * ${WORDS}u + i / 16u;
    let inside = word < params.words;
    let safe = min(word, params.words - 1u);
    let q = weights[(at.x * params.words + safe) * 16u + at.y];
#if SCALES
    let scale = select(F4(0.0), scales[(at.x * params.groups + safe / params.group_steps) * 16u + at.y],
                       inside);
#endif
    // i % 16 is the quad, i / 16 the word: its elements are rows of the tile.
    let to = i / 16u * (32u / ${WORDS}u) * 16u + i % 16u;
#if WEIGHT == q4
#repeat H 2
    let n${H} = q >> U4(16u * ${H}u);
#repeat J 4
    tile_w[to + (${H}u * 4u + ${J}u) * 16u] =
        (bitcast<F4>((n${H} & U4(15u << (4u * ${J}u))) | U4(0x4b000000u)) -
         F4(8388608.0 + f32(8u << (4u * ${J}u)))) * (scale * (1.0 / f32(1u << (4u * ${J}u))));
#endrepeat
#endrepeat
#endif
#if WEIGHT == q8
#repeat J 4
    tile_w[to + ${J}u * 16u] = F4(bitcast<vec4<i32>>(q << U4(24u - 8u * ${J}u)) >> U4(24u)) * scale;
#endrepeat
#endif
#if WEIGHT == f16
    tile_w[to] = select(F4(0.0), half(q, 0u), inside);
    tile_w[to + 16u] = select(F4(0.0), half(q, 1u), inside);
#endif
#if WEIGHT == f32
    tile_w[to] = select(F4(0.0), bitcast<F4>(q), inside);
#endif
  }
}

// Four elements of x, zero past its end.
fn load_x(row: u32, quad: u32) -> F4 {
  let per_row = params.k / 4u;
  let value = x[min(row, params.rows - 1u) * per_row + min(quad, per_row - 1u)];
  return select(F4(0.0), value, quad < per_row);
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.blocks * params.row_blocks) {
    return;
  }
  let block = group / params.row_blocks;
  let first_row = (group - block * params.row_blocks) * ${TILE}u;
  let tx = index % 8u;
  let ty = index / 8u;
#repeat V VECTORS
#if NORM
  var squares${V} = F4(0.0);
#endif
#repeat I 4
  var sum${V}_${I}_0 = F4(0.0);
  var sum${V}_${I}_1 = F4(0.0);
#endrepeat
#endrepeat
  let chunks = (params.k + 31u) / 32u;
  for (var chunk = 0u; chunk < chunks; chunk++) {
    // Four rows x four elements at a time, transposed in registers.
#repeat V VECTORS
    {
      let quad = ty + ${V}u * STRIDE;
      let row = first_row + quad * 4u;
      let depth = chunk * 8u + tx;
      var m = mat4x4<f32>(load_x(row, depth), load_x(row + 1u, depth), load_x(row + 2u, depth),
                          load_x(row + 3u, depth));
#if NORM
      squares${V} += F4(dot(m[0], m[0]), dot(m[1], m[1]), dot(m[2], m[2]), dot(m[3], m[3]));
      let gain = norm_weight[min(depth, params.k / 4u - 1u)];
      m = mat4x4<f32>(m[0] * gain, m[1] * gain, m[2] * gain, m[3] * gain);
#endif
      m = transpose(m);
#repeat J 4
      tile_x[(tx * 4u + ${J}u) * QUADS + quad] = m[${J}];
#endrepeat
    }
#endrepeat
    stage_weights(block, chunk, index);
    workgroupBarrier();
    for (var k = 0u; k < 32u; k++) {
      let b0 = tile_w[k * 16u + tx];
      let b1 = tile_w[k * 16u + 8u + tx];
#repeat V VECTORS
      let a${V} = tile_x[k * QUADS + ty + ${V}u * STRIDE];
#repeat I 4
      sum${V}_${I}_0 += a${V}[${I}] * b0;
      sum${V}_${I}_1 += a${V}[${I}] * b1;
#endrepeat
#endrepeat
    }
    workgroupBarrier();
  }
#if NORM
#repeat V VECTORS
  tile_x[(ty + ${V}u * STRIDE) * 8u + tx] = squares${V};
#endrepeat
  workgroupBarrier();
#endif
  let at0 = place(block, tx);
  let quad0 = (params.first_panel + at0.x) * 16u + at0.y;
#repeat V VECTORS
  {
    let quad = ty + ${V}u * STRIDE;
#if NORM
    var square = F4(0.0);
#repeat I 8
    square += tile_x[quad * 8u + ${I}u];
#endrepeat
    let norm = inverseSqrt(square / f32(params.k) + F4(params.eps));
#else
    let norm = F4(1.0);
#endif
#repeat I 4
    let row${I} = first_row + quad * 4u + ${I}u;
    if (row${I} < params.rows) {
#if GATED
      finish(row${I}, quad0, sum${V}_${I}_0 * norm[${I}], sum${V}_${I}_1 * norm[${I}]);
#else
      finish(row${I}, quad0, sum${V}_${I}_0 * norm[${I}], F4(0.0));
      finish(row${I}, quad0 + 8u, sum${V}_${I}_1 * norm[${I}], F4(0.0));
#endif
    }
#endrepeat
  }
#endrepeat
}
