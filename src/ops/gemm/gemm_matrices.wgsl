// The sums of a matrix product for many rows on a GPU with matrix units (subgroup matrices): x, in f16 already
// (gemm_half_rows), and the weights, converted on the way in, are multiplied in squares of MATRIX x MATRIX, whose sums
// are f32. With two TERMS an element is the sum of two f16, of whose products the smallest is left out
// (gemm_split_rows). A workgroup of four subgroups computes a tile of TILE rows x 4 * COLUMN_QUADS columns: 32 elements of K
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
#param X_TASKS             // 8 * TILE / WG, rounded up
#param WORDS               // per output row in 32 elements
#param W_TASKS             // COLUMN_QUADS * WORDS / WG, rounded up
#param GROUP_WORDS         // per scale
#param PARTIAL : 0 | 1     // WG divides either of these tasks unevenly
#param WHOLE : 0 | 1       // K is a multiple of 32
#param SPLITS
#param X_TERMS : 1 | 2     // f16 that an element of x is the sum of
#param W_TERMS : 1 | 2     // and a weight; 2: its scales are relative to its column's factor
#requires f16
#requires subgroup_matrix
#include "gemm_shape.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_place.wgsl"
@group(0) @binding(x) var<storage, read> x: array<vec2<u32>>;  // from gemm_half_rows or gemm_split_rows
#if W_TERMS == 2
@group(0) @binding(factors) var<storage, read> factors: array<F4>;  // by row of the tiles, then by column
#endif
@group(0) @binding(sums) var<storage, read_write> sums: array<f32>;
alias Left = subgroup_matrix_left<f16, ${MATRIX}, ${MATRIX}>;
alias Right = subgroup_matrix_right<f16, ${MATRIX}, ${MATRIX}>;
alias Sums = subgroup_matrix_result<f32, ${MATRIX}, ${MATRIX}>;

const PITCH = 40u;  // elements between the staged rows: 32, and 8 so that rows begin in other banks
const COLUMNS = 4u * ${COLUMN_QUADS}u;
const EACH = 32u / ${WORDS}u;  // elements in a word
const X_TILE = ${TILE}u * PITCH;
const W_TILE = COLUMNS * PITCH;
// [term][row][element], task i: 4 from 4 * (i % 8) on of row x_row.
var<workgroup> tile_x: array<f16, ${X_TERMS}u * X_TILE>;
// [term][column][element], task i: word i % WORDS of quad i / WORDS.
var<workgroup> tile_w: array<f16, ${W_TERMS}u * W_TILE>;

// A word of each of four columns, which begin at `at`, and their scales. What lies past the end of K is
// multiplied by zero; columns past the last are never read from the sums.
fn fetch_words(at: u32, word: u32) -> U4 {
#if WHOLE
  return weights[at + word * 16u];
#else
  return weights[at + min(word, params.words - 1u) * 16u];
#endif
}

fn group_of(word: u32) -> u32 {
  return min(word / ${GROUP_WORDS}u, params.groups - 1u);
}

fn fetch_scale(at: vec2<u32>, word: u32) -> Scales {
  return scale_words(at.x, at.y, group_of(word));
}

fn fetched_scale(words: Scales, word: u32) -> F4 {
  let scale = scale_of(words, group_of(word));
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
  // Eight tasks to a row, and next to it the row four below, which lies in the other banks.
  let x_row${T} = x_task${T} / 64u * 8u + x_task${T} / 8u % 2u * 4u + x_task${T} / 16u % 4u;
#repeat E X_TERMS
  let x_at${T}_${E} = (${E}u * params.row_blocks * ${TILE}u + first_row + x_row${T}) * all_chunks * 8u + x_task${T} % 8u;
  var x${T}_${E} = x[x_at${T}_${E} + first * 8u];
#endrepeat
#endrepeat
#repeat T W_TASKS
  let task${T} = index + ${T}u * ${WG}u;
  let place${T} = place(block, task${T} / ${WORDS}u);
  let words_at${T} = place${T}.x * params.words * 16u + place${T}.y;
#if W_TERMS == 2
  // A power of two, of which this is 1 / factor.
  let shrink${T} = bitcast<F4>(U4(0x7f000000u) - bitcast<U4>(
      factors[params.row_blocks * ${TILE}u / 4u + (params.first_panel + place${T}.x) * 16u + place${T}.y]));
#endif
  var word${T} = first * ${WORDS}u + task${T} % ${WORDS}u;
  var words${T} = fetch_words(words_at${T}, word${T});
  var scale${T} = fetch_scale(place${T}, word${T});
#endrepeat
  for (var chunk = first; chunk < end; chunk++) {
    // Not by functions: in them it could not be told that no index is past the end, and each would be clamped.
#repeat T X_TASKS
#if PARTIAL
    if (x_task${T} < 8u * ${TILE}u)
#endif
    {
      let to = x_row${T} * PITCH + x_task${T} % 8u * 4u;
#repeat E X_TERMS
#repeat J 2
      let pair${J}_${E} = bitcast<vec2<f16>>(x${T}_${E}[${J}]);
      tile_x[${E}u * X_TILE + to + 2u * ${J}u] = pair${J}_${E}.x;
      tile_x[${E}u * X_TILE + to + 2u * ${J}u + 1u] = pair${J}_${E}.y;
#endrepeat
#endrepeat
    }
#endrepeat
#repeat T W_TASKS
#if PARTIAL
    if (task${T} < ${COLUMN_QUADS}u * ${WORDS}u)
#endif
    {
      let to = task${T} / ${WORDS}u * 4u * PITCH + task${T} % ${WORDS}u * EACH;
      let scales${T} = fetched_scale(scale${T}, word${T});
#repeat C 4
      {
#if WEIGHT == q4
#if W_TERMS == 2
        // Two nibbles at a time, four elements apart, as mantissa bits of 2^10; they lie side by side, as x has them
        // (gemm_split_rows). The scale in two parts, of which the upper has eight bits: f16 holds its products, since
        // -8 to 7 are three bits at most times a power of two.
        let s = scales${T}[${C}] * shrink${T}[${C}];
        let coarse = bitcast<f32>((bitcast<u32>(s) + 0x8000u) & 0xffff0000u);
#repeat J 4
        {
          let n = bitcast<vec2<f16>>(((words${T}[${C}] >> (4u * ${J}u)) & 0x000f000fu) | 0x64006400u) -
                  vec2<f16>(1032.0h);
          let at = to + ${C}u * PITCH + ${J}u * 2u;
          let high = n * f16(coarse);
          let low = n * f16(s - coarse);
          tile_w[at] = high.x;
          tile_w[at + 1u] = high.y;
          tile_w[W_TILE + at] = low.x;
          tile_w[W_TILE + at + 1u] = low.y;
        }
#endrepeat
#else
        // A nibble as mantissa bits of 2^23, without shifting it down: the scale makes up for its place. Scales are
        // kept such that f16, which ends at 65504, holds all weights.
        let s = clamp(scales${T}[${C}], -8188.0, 8188.0);
#repeat H 2
        let n${H} = words${T}[${C}] >> (16u * ${H}u);
#repeat J 4
        tile_w[to + ${C}u * PITCH + ${H}u * 4u + ${J}u] =
            f16((bitcast<f32>((n${H} & (15u << (4u * ${J}u))) | 0x4b000000u) -
                 (8388608.0 + f32(8u << (4u * ${J}u)))) * (s * (1.0 / f32(1u << (4u * ${J}u)))));
#endrepeat
#endrepeat
#endif
#elif WEIGHT == q8
#if W_TERMS == 2
        let s = scales${T}[${C}] * shrink${T}[${C}];
#else
        let s = clamp(scales${T}[${C}], -511.0, 511.0);
#endif
#repeat J 4
        {
          let weight = f32(bitcast<i32>(words${T}[${C}] << (24u - 8u * ${J}u)) >> 24u) * s;
          let at = to + ${C}u * PITCH + ${J}u;
#if W_TERMS == 2
          // Rounded as in gemm_split_rows.
          let high = bitcast<f32>((bitcast<u32>(weight) + 0x1000u) & 0xffffe000u);
          tile_w[at] = f16(high);
          tile_w[W_TILE + at] = f16(weight - high);
#else
          tile_w[at] = f16(weight);
#endif
        }
#endrepeat
#elif WEIGHT == f16
        // Not a product: what lies past the end may be no number.
        let pair = bitcast<vec2<f16>>(select(0u, words${T}[${C}], scales${T}[${C}] > 0.0));
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
#repeat E X_TERMS
      x${T}_${E} = x[x_at${T}_${E} + (chunk + 1u) * 8u];
#endrepeat
#endrepeat
#repeat T W_TASKS
      word${T} += ${WORDS}u;
      words${T} = fetch_words(words_at${T}, word${T});
      scale${T} = fetch_scale(place${T}, word${T});
#endrepeat
    }
#repeat D DEPTHS
    {
#repeat E X_TERMS
#repeat I ROW_MATRICES
      let left${I}_${E} = subgroupMatrixLoad<Left, row_major>(
          &tile_x, ${E}u * X_TILE + (my_row + ${I}u * ${MATRIX}u) * PITCH + ${D}u * ${MATRIX}u, PITCH);
#endrepeat
#endrepeat
#repeat J COLUMN_MATRICES
      let right${J} = subgroupMatrixLoad<Right, col_major>(
          &tile_w, (my_column + ${J}u * ${MATRIX}u) * PITCH + ${D}u * ${MATRIX}u, PITCH);
#repeat E X_TERMS
#repeat I ROW_MATRICES
      sum${I}_${J} = subgroupMatrixMultiplyAccumulate(left${I}_${E}, right${J}, sum${I}_${J});
#endrepeat
#endrepeat
#if W_TERMS == 2
      let low${J} = subgroupMatrixLoad<Right, col_major>(
          &tile_w, W_TILE + (my_column + ${J}u * ${MATRIX}u) * PITCH + ${D}u * ${MATRIX}u, PITCH);
#repeat I ROW_MATRICES
      sum${I}_${J} = subgroupMatrixMultiplyAccumulate(left${I}_0, low${J}, sum${I}_${J});
#endrepeat
#endif
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
