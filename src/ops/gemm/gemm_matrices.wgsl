// The sums of a matrix product for many rows on a GPU with matrix units (subgroup matrices): x, in f16 already
// (gemm_half_rows), and the weights, converted on the way in, are multiplied in squares of MATRIX x MATRIX, whose sums
// are f32. A workgroup of four subgroups computes a tile of TILE rows x 4 * COLUMN_QUADS columns: 32 elements of K
// at a time are staged in workgroup memory, and each subgroup sums ROW_MATRICES x COLUMN_MATRICES of it in
// registers. The next elements are fetched into registers before the sums, which hide their latency. Where tiles are
// few, SPLITS workgroups share one, each summing its part of K. Sums leave as they are, for gemm_join to finish:
// anything else here costs registers, and with them a third of the speed (seen on an H200).
#param MATRIX : 8 | 16
#param SUBGROUP            // its invocations
#param WG                  // 4 * SUBGROUP
#param TILE
#param ROW_GROUPS : 1 | 2  // subgroups along the rows, the others along the columns
#param ROW_MATRICES
#param COLUMN_MATRICES
#param DEPTHS              // 32 / MATRIX
#param X_TASKS             // 4 * TILE / WG, rounded up
#param WORDS               // per output row in 32 elements
#param W_TASKS             // COLUMN_QUADS * WORDS / WG, rounded up
#param GROUP_WORDS         // per scale
#param PARTIAL : 0 | 1     // WG divides either of these tasks unevenly
#param WHOLE : 0 | 1       // K is a multiple of 32
#param SPLITS
#requires f16
#requires subgroup_matrix
#include "gemm_shape.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_place.wgsl"
@group(0) @binding(x) var<storage, read> x: array<U4>;  // from gemm_half_rows
@group(0) @binding(sums) var<storage, read_write> sums: array<f32>;
alias Left = subgroup_matrix_left<f16, ${MATRIX}, ${MATRIX}>;
alias Right = subgroup_matrix_right<f16, ${MATRIX}, ${MATRIX}>;
alias Sums = subgroup_matrix_result<f32, ${MATRIX}, ${MATRIX}>;

const PITCH = 40u;  // elements between the staged rows: 32, and 8 so that rows begin in other banks
const COLUMNS = 4u * ${COLUMN_QUADS}u;
const EACH = 32u / ${WORDS}u;  // elements in a word
var<workgroup> tile_x: array<f16, ${TILE}u * PITCH>;  // [row][element], task i: 8 from 8 * (i % 4) on of row i / 4
var<workgroup> tile_w: array<f16, COLUMNS * PITCH>;   // [column][element], task i: word i % WORDS of quad i / WORDS

// A word of each of four columns, and their scales: a column quad's begin at `at`. What lies past the end of K is
// multiplied by zero; columns past the last are never read from the sums.
fn fetch_words(at: u32, word: u32) -> U4 {
#if WHOLE
  return weights[at + word * 16u];
#else
  return weights[at + min(word, params.words - 1u) * 16u];
#endif
}

fn fetch_scale(at: u32, word: u32) -> F4 {
#if SCALES
  let scale = scales[at + min(word / ${GROUP_WORDS}u, params.groups - 1u) * 16u];
#else
  let scale = F4(1.0);
#endif
#if WHOLE
  return scale;
#else
  return select(F4(0.0), scale, word < params.words);
#endif
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  let tiles = params.blocks * params.row_blocks;
  if (group >= tiles * ${SPLITS}u) {
    return;
  }
  let split = group / tiles;
  let block = group % tiles / params.row_blocks;
  let first_row = group % params.row_blocks * ${TILE}u;
  let subgroup = index / ${SUBGROUP}u;
  let my_row = subgroup % ${ROW_GROUPS}u * ${ROW_MATRICES}u * ${MATRIX}u;
  let my_column = subgroup / ${ROW_GROUPS}u * ${COLUMN_MATRICES}u * ${MATRIX}u;
#repeat I ROW_MATRICES
#repeat J COLUMN_MATRICES
  var sum${I}_${J} = Sums();
#endrepeat
#endrepeat
  let all_chunks = (params.k + 31u) / 32u;
  let part = (all_chunks + ${SPLITS}u - 1u) / ${SPLITS}u;
  let first = split * part;
  let end = min(first + part, all_chunks);
#repeat T X_TASKS
  let x_task${T} = index + ${T}u * ${WG}u;
  let x_at${T} = (first_row + x_task${T} / 4u) * all_chunks * 4u + x_task${T} % 4u;
  var x${T} = x[x_at${T} + first * 4u];
#endrepeat
#repeat T W_TASKS
  let task${T} = index + ${T}u * ${WG}u;
  let place${T} = place(block, task${T} / ${WORDS}u);
  let words_at${T} = place${T}.x * params.words * 16u + place${T}.y;
  let scales_at${T} = place${T}.x * params.groups * 16u + place${T}.y;
  var word${T} = first * ${WORDS}u + task${T} % ${WORDS}u;
  var words${T} = fetch_words(words_at${T}, word${T});
  var scale${T} = fetch_scale(scales_at${T}, word${T});
#endrepeat
  for (var chunk = first; chunk < end; chunk++) {
    // Not by functions: in them it could not be told that no index is past the end, and each would be clamped.
#repeat T X_TASKS
#if PARTIAL
    if (x_task${T} < 4u * ${TILE}u)
#endif
    {
      let to = x_task${T} / 4u * PITCH + x_task${T} % 4u * 8u;
#repeat J 4
      let pair${J} = bitcast<vec2<f16>>(x${T}[${J}]);
      tile_x[to + 2u * ${J}u] = pair${J}.x;
      tile_x[to + 2u * ${J}u + 1u] = pair${J}.y;
#endrepeat
    }
#endrepeat
#repeat T W_TASKS
#if PARTIAL
    if (task${T} < ${COLUMN_QUADS}u * ${WORDS}u)
#endif
    {
      let to = task${T} / ${WORDS}u * 4u * PITCH + task${T} % ${WORDS}u * EACH;
#repeat C 4
      {
#if WEIGHT == q4
        // A nibble as mantissa bits of 2^23, without shifting it down: the scale makes up for its place. Scales are
        // kept such that f16, which ends at 65504, holds all weights.
        let s = clamp(scale${T}[${C}], -8188.0, 8188.0);
#repeat H 2
        let n${H} = words${T}[${C}] >> (16u * ${H}u);
#repeat J 4
        tile_w[to + ${C}u * PITCH + ${H}u * 4u + ${J}u] =
            f16((bitcast<f32>((n${H} & (15u << (4u * ${J}u))) | 0x4b000000u) -
                 (8388608.0 + f32(8u << (4u * ${J}u)))) * (s * (1.0 / f32(1u << (4u * ${J}u)))));
#endrepeat
#endrepeat
#elif WEIGHT == q8
        let s = clamp(scale${T}[${C}], -511.0, 511.0);
#repeat J 4
        tile_w[to + ${C}u * PITCH + ${J}u] =
            f16(f32(bitcast<i32>(words${T}[${C}] << (24u - 8u * ${J}u)) >> 24u) * s);
#endrepeat
#elif WEIGHT == f16
        // Not a product: what lies past the end may be no number.
        let pair = bitcast<vec2<f16>>(select(0u, words${T}[${C}], scale${T}[${C}] > 0.0));
        tile_w[to + ${C}u * PITCH] = pair.x;
        tile_w[to + ${C}u * PITCH + 1u] = pair.y;
#endif
      }
#endrepeat
    }
#endrepeat
    workgroupBarrier();
    if (chunk + 1u < end) {
#repeat T X_TASKS
      x${T} = x[x_at${T} + (chunk + 1u) * 4u];
#endrepeat
#repeat T W_TASKS
      word${T} += ${WORDS}u;
      words${T} = fetch_words(words_at${T}, word${T});
      scale${T} = fetch_scale(scales_at${T}, word${T});
#endrepeat
    }
#repeat D DEPTHS
    {
#repeat I ROW_MATRICES
      let left${I} = subgroupMatrixLoad<Left, row_major>(
          &tile_x, (my_row + ${I}u * ${MATRIX}u) * PITCH + ${D}u * ${MATRIX}u, PITCH);
#endrepeat
#repeat J COLUMN_MATRICES
      let right${J} = subgroupMatrixLoad<Right, col_major>(
          &tile_w, (my_column + ${J}u * ${MATRIX}u) * PITCH + ${D}u * ${MATRIX}u, PITCH);
#repeat I ROW_MATRICES
      sum${I}_${J} = subgroupMatrixMultiplyAccumulate(left${I}, right${J}, sum${I}_${J});
#endrepeat
#endrepeat
    }
#endrepeat
    workgroupBarrier();
  }
  let pitch = params.blocks * COLUMNS;
  let out_at = (split * params.row_blocks * ${TILE}u + first_row + my_row) * pitch + block * COLUMNS + my_column;
#repeat I ROW_MATRICES
#repeat J COLUMN_MATRICES
  subgroupMatrixStore<row_major>(&sums, out_at + ${I}u * ${MATRIX}u * pitch + ${J}u * ${MATRIX}u, sum${I}_${J}, pitch);
#endrepeat
#endrepeat
}
