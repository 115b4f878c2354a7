// Linear layer for many rows on a GPU with matrix units (subgroup matrices): x and the converted weights
// are rounded to f16 and multiplied in squares of MATRIX x MATRIX, whose sums are f32. A workgroup of four
// subgroups computes TILE rows x one panel (64 columns; if GATED 32 columns of each matrix): 32 elements of K
// at a time are staged in workgroup memory, and each subgroup sums ROW_MATRICES * MATRIX rows x 64 columns.
// The next elements are fetched into registers before the sums, which hide their latency.
// Parameters: those of linear_params, MATRIX (8 or 16), SUBGROUP (invocations), WG (4 * SUBGROUP), TILE
// (4 * ROW_MATRICES * MATRIX), ROW_MATRICES, PAIRS (of matrices in 64 columns, 32 / MATRIX), DEPTHS (32 / MATRIX),
// X_TASKS (8 * TILE / WG), W_TASKS (128 / WG), WORDS (per output row in 32 elements).
#requires f16
#requires subgroup_matrix
#include "linear_params.wgsl"
#include "linear_fetch.wgsl"
#if WEIGHT == f16
#include "linear_half.wgsl"
#endif
alias Left = subgroup_matrix_left<f16, ${MATRIX}, ${MATRIX}>;
alias Right = subgroup_matrix_right<f16, ${MATRIX}, ${MATRIX}>;
alias Sums = subgroup_matrix_result<f32, ${MATRIX}, ${MATRIX}>;

const PITCH = 40u;  // elements between the staged rows: 32, and 8 so that rows begin in other banks
const QUADS = ${MATRIX}u / 4u;  // groups of four columns in a matrix
const PATCH = 2u * ${MATRIX}u * ${MATRIX}u;  // the results of two matrices
var<workgroup> tile_x: array<f16, ${TILE}u * PITCH>;  // [row][element]
var<workgroup> tile_w: array<f16, 64u * PITCH>;       // [column][element]
var<workgroup> patches: array<f32, 4u * PATCH>;       // [subgroup][row][matrix][column]
#if NORM
var<workgroup> row_squares: array<f32, 8u * ${TILE}u>;
#endif

// Weight task i of a chunk covers elements 4 * (i % 8) on of column quad i / 8: all or half of a word, or,
// of f16, two words.
fn first_word(chunk: u32, task: u32) -> u32 {
  return chunk * ${WORDS}u + task % 8u * ${WORDS}u / 8u;
}

// Largest magnitude of f16; what is larger would become infinite.
const MOST = F4(65504.0);

fn stage_weight(task: u32, j: u32, value: F4) {
  let w = vec4<f16>(clamp(value, -MOST, MOST));
  let to = task / 8u * 4u * PITCH + task % 8u * 4u + j;
  tile_w[to] = w.x;
  tile_w[to + PITCH] = w.y;
  tile_w[to + 2u * PITCH] = w.z;
  tile_w[to + 3u * PITCH] = w.w;
}

fn four(at: u32) -> F4 {
  return F4(patches[at], patches[at + 1u], patches[at + 2u], patches[at + 3u]);
}

// What the results of a row of the tile are scaled by.
fn norm(row: u32) -> f32 {
#if NORM
  var square = 0.0;
#repeat J 8
  square += row_squares[row * 8u + ${J}u];
#endrepeat
  return inverseSqrt(square / f32(params.k) + params.eps);
#else
  return 1.0;
#endif
}

// Results of column quad `quad` of the block, and of the one 32 columns on.
fn finish_pair(block: u32, row: u32, quad: u32, first: F4, second: F4) {
  if (row >= params.rows) {
    return;
  }
  let at = place(block, quad);
  let all = (params.first_panel + at.x) * 16u + at.y;
#if GATED
  finish(row, all, first, second);
#else
  finish(row, all, first, F4(0.0));
  finish(row, all + 8u, second, F4(0.0));
#endif
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
  let subgroup = index / ${SUBGROUP}u;
  let lane = index % ${SUBGROUP}u;
  let quad = index % 8u;  // of the chunk's 32 elements, in every task of x
#repeat I ROW_MATRICES
#repeat P 2
#repeat J PAIRS
  var sum${I}_${P}_${J} = Sums();
#endrepeat
#endrepeat
#endrepeat
#repeat T X_TASKS
  let row${T} = (index + ${T}u * ${WG}u) / 8u;
  var x${T} = load_x(first_row + row${T}, quad);
#if NORM
  var square${T} = 0.0;
#endif
#endrepeat
#if NORM
  let last_quad = params.k / 4u - 1u;
  var gain = norm_weight[min(quad, last_quad)];
#endif
#repeat T W_TASKS
  let task${T} = index + ${T}u * ${WG}u;
  var word${T} = first_word(0u, task${T});
  var words${T} = fetch_words(block, task${T} / 8u, word${T});
#if WEIGHT == f16
  var more${T} = fetch_words(block, task${T} / 8u, word${T} + 1u);
#endif
  var scale${T} = fetch_scale(block, task${T} / 8u, word${T});
#endrepeat
  let chunks = (params.k + 31u) / 32u;
  for (var chunk = 0u; chunk < chunks; chunk++) {
#repeat T X_TASKS
    {
#if NORM
      square${T} += dot(x${T}, x${T});
      let value = vec4<f16>(clamp(x${T} * gain, -MOST, MOST));
#else
      let value = vec4<f16>(clamp(x${T}, -MOST, MOST));
#endif
      let to = row${T} * PITCH + quad * 4u;
#repeat J 4
      tile_x[to + ${J}u] = value[${J}];
#endrepeat
    }
#endrepeat
#repeat T W_TASKS
    {
#if WEIGHT == q4
      let n = words${T} >> U4(task${T} % 2u * 16u);
#repeat J 4
      // A nibble as mantissa bits of 2^23, without shifting it down: the scale makes up for its place.
      stage_weight(task${T}, ${J}u,
                   (bitcast<F4>((n & U4(15u << (4u * ${J}u))) | U4(0x4b000000u)) -
                    F4(8388608.0 + f32(8u << (4u * ${J}u)))) * (scale${T} * (1.0 / f32(1u << (4u * ${J}u)))));
#endrepeat
#endif
#if WEIGHT == q8
#repeat J 4
      stage_weight(task${T}, ${J}u,
                   F4(bitcast<vec4<i32>>(words${T} << U4(24u - 8u * ${J}u)) >> U4(24u)) * scale${T});
#endrepeat
#endif
#if WEIGHT == f16
      // Not a product: what lies past the end may be no number.
      let inside = scale${T} > F4(0.0);
#repeat J 2
      stage_weight(task${T}, ${J}u, select(F4(0.0), half(words${T}, ${J}u), inside));
      stage_weight(task${T}, 2u + ${J}u, select(F4(0.0), half(more${T}, ${J}u), inside));
#endrepeat
#endif
    }
#endrepeat
    workgroupBarrier();
    if (chunk + 1u < chunks) {
#repeat T X_TASKS
      x${T} = load_x(first_row + row${T}, (chunk + 1u) * 8u + quad);
#endrepeat
#if NORM
      gain = norm_weight[min((chunk + 1u) * 8u + quad, last_quad)];
#endif
#repeat T W_TASKS
      word${T} = first_word(chunk + 1u, task${T});
      words${T} = fetch_words(block, task${T} / 8u, word${T});
#if WEIGHT == f16
      more${T} = fetch_words(block, task${T} / 8u, word${T} + 1u);
#endif
      scale${T} = fetch_scale(block, task${T} / 8u, word${T});
#endrepeat
    }
#repeat D DEPTHS
    {
#repeat I ROW_MATRICES
      let left${I} = subgroupMatrixLoad<Left>(
          &tile_x, (subgroup * ${ROW_MATRICES}u + ${I}u) * ${MATRIX}u * PITCH + ${D}u * ${MATRIX}u, false, PITCH);
#endrepeat
#repeat P 2
#repeat J PAIRS
      let right${P}_${J} = subgroupMatrixLoad<Right>(
          &tile_w, (${P}u * 32u + ${J}u * ${MATRIX}u) * PITCH + ${D}u * ${MATRIX}u, true, PITCH);
#repeat I ROW_MATRICES
      sum${I}_${P}_${J} = subgroupMatrixMultiplyAccumulate(left${I}, right${P}_${J}, sum${I}_${P}_${J});
#endrepeat
#endrepeat
#endrepeat
    }
#endrepeat
    workgroupBarrier();
  }
#if NORM
#repeat T X_TASKS
  row_squares[row${T} * 8u + quad] = square${T};
#endrepeat
#endif
  // The results of two matrices at a time, 32 columns apart: if GATED a gate and its up.
  let out_at = subgroup * PATCH;
#repeat I ROW_MATRICES
#repeat J PAIRS
  workgroupBarrier();
  subgroupMatrixStore(&patches, out_at, sum${I}_0_${J}, false, 2u * ${MATRIX}u);
  subgroupMatrixStore(&patches, out_at + ${MATRIX}u, sum${I}_1_${J}, false, 2u * ${MATRIX}u);
  workgroupBarrier();
  for (var item = lane; item < ${MATRIX}u * QUADS; item += ${SUBGROUP}u) {
    let row = (subgroup * ${ROW_MATRICES}u + ${I}u) * ${MATRIX}u + item / QUADS;
    let at = out_at + item / QUADS * 2u * ${MATRIX}u + item % QUADS * 4u;
    finish_pair(block, first_row + row, ${J}u * QUADS + item % QUADS, four(at) * norm(row),
                four(at + ${MATRIX}u) * norm(row));
  }
#endrepeat
#endrepeat
}
