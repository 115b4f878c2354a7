// Rows of 8-bit integers times a packed matrix of such, summed as integers. A workgroup computes TILE rows x one
// panel (64 columns), an invocation 4 rows x 4 columns of it: DEPTH words of K at a time, whose rows, and for more than
// four of them the weights too, are staged in workgroup memory. Where rows are few, SPLITS groups of invocations share
// a tile, each with its part of every DEPTH words.
// LOAD gives quad_words(quad, word): four elements of K, from 4 * word on, of four neighbouring rows; anything for
// rows and elements past the end, where weights are 0 and nothing is stored.
#param LOAD : byte_rows_plain | byte_rows_patches | byte_rows_pixels
#param TILE : 4 | 16 | 64
#param SPLITS : 1 | 8     // above 1 only for TILE 4
#param WG                 // 4 * TILE * SPLITS
#param DEPTH
#param DOT : packed | vectors  // how four elements are multiplied: by an instruction, where WGSL has it
// Which neighbours are a word of the output, in bytes: rows (pixels of an image), columns, or none, and then results
// are words.
#param PACKED : rows | columns | none
//   count           rows
//   row_blocks      blocks of TILE rows
//   panels, words   of the weights: panels, and words of a column
//   columns
//   plane_elements  rows that are one image: the output is [images, columns, plane_elements]
//   x_zero_point
#params
alias U4 = vec4<u32>;
alias I4 = vec4<i32>;
@group(0) @binding(weights) var<storage, read> weights: array<U4>;
#if PACKED == none
@group(0) @binding(out) var<storage, read_write> out: array<i32>;
#else
@group(0) @binding(out) var<storage, read_write> out: array<u32>;
#endif
#include "bytes.wgsl"
#include "requantize.wgsl"
#include ${LOAD}

const QUADS = ${TILE}u / 4u;  // rows by four
var<workgroup> tile_x: array<U4, QUADS * ${DEPTH}u>;
#if TILE != 4
var<workgroup> tile_w: array<U4, 16u * ${DEPTH}u>;
#endif
#if SPLITS != 1
var<workgroup> joined: array<atomic<i32>, 16u * 20u>;
#endif

// A word of each of four columns, 0 past the end.
fn fetch_weights(panel: u32, column: u32, word: u32) -> U4 {
  let at = (panel * params.words + min(word, params.words - 1u)) * 16u + column;
  return select(U4(0u), weights[at], word < params.words);
}

fn product(a: u32, b: u32) -> i32 {
#if DOT == packed
  return dot4I8Packed(a, b);
#else
  return dot(signed_bytes(a), signed_bytes(b));
#endif
}

fn place_of(row: u32, column: u32) -> u32 {
  let image = row / params.plane_elements;
  return (image * (params.columns - 1u) + column) * params.plane_elements + row;
}

fn store_block(row: u32, column: u32, results: array<I4, 4>) {
  var rows = results;
#if PACKED == rows
  for (var c = 0u; c < 4u; c++) {
    if (row < params.count && column + c < params.columns) {
      out[place_of(row, column + c) / 4u] = packed_bytes(I4(rows[0][c], rows[1][c], rows[2][c], rows[3][c]));
    }
  }
#else
  for (var r = 0u; r < 4u && row + r < params.count; r++) {
#if PACKED == columns
    if (column < params.columns) {
      out[place_of(row + r, column) / 4u] = packed_bytes(rows[r]);
    }
#else
    for (var c = 0u; c < 4u && column + c < params.columns; c++) {
      out[place_of(row + r, column + c)] = rows[r][c];
    }
#endif
  }
#endif
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let group = wid.y * grid.x + wid.x;
  if (group >= params.panels * params.row_blocks) {
    return;
  }
  let panel = group / params.row_blocks;
  let first_quad = (group - panel * params.row_blocks) * QUADS;
  let split = index / (4u * ${TILE}u);
  let column = index % 16u;
  let quad = index / 16u % QUADS;
#repeat R 4
  var sum${R} = I4(0);
#endrepeat
  var weight_sum = I4(0);
#if SPLITS != 1
  for (var t = index; t < 16u * 20u; t += ${WG}u) {
    atomicStore(&joined[t], 0);
  }
#endif
  for (var chunk = 0u; chunk < params.words; chunk += ${DEPTH}u) {
    for (var t = index; t < QUADS * ${DEPTH}u; t += ${WG}u) {
      tile_x[t] = quad_words(first_quad + t % QUADS, min(chunk + t / QUADS, params.words - 1u));
    }
#if TILE != 4
    for (var t = index; t < 16u * ${DEPTH}u; t += ${WG}u) {
      tile_w[t] = fetch_weights(panel, t % 16u, chunk + t / 16u);
    }
#endif
    workgroupBarrier();
    for (var i = split; i < ${DEPTH}u; i += ${SPLITS}u) {
      let x = tile_x[i * QUADS + quad];
#if TILE != 4
      let w = tile_w[i * 16u + column];
#else
      let w = fetch_weights(panel, column, chunk + i);
#endif
#repeat C 4
#repeat R 4
      sum${R}[${C}] += product(x[${R}], w[${C}]);
#endrepeat
      weight_sum[${C}] += product(0x01010101u, w[${C}]);
#endrepeat
    }
    workgroupBarrier();
  }
#if SPLITS != 1
#repeat C 4
#repeat R 4
  atomicAdd(&joined[column * 20u + ${R}u * 4u + ${C}u], sum${R}[${C}]);
#endrepeat
  atomicAdd(&joined[column * 20u + 16u + ${C}u], weight_sum[${C}]);
#endrepeat
  workgroupBarrier();
  if (split != 0u) {
    return;
  }
#repeat C 4
#repeat R 4
  sum${R}[${C}] = atomicLoad(&joined[column * 20u + ${R}u * 4u + ${C}u]);
#endrepeat
  weight_sum[${C}] = atomicLoad(&joined[column * 20u + 16u + ${C}u]);
#endrepeat
#endif
  let columns = panel * 16u + column;
  store_block((first_quad + quad) * 4u, columns * 4u, array<I4, 4>(
#repeat R 4
      requantized(sum${R} - weight_sum * params.x_zero_point, columns, columns),
#endrepeat
  ));
}
