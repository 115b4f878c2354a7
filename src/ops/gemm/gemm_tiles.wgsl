// Matrix product for many rows on a GPU. A workgroup computes TILE rows x one panel (64 columns; if GATED 32
// columns of each matrix): 32 elements of K at a time, x and the converted weights are staged in workgroup
// memory with K outermost, and each invocation sums 4 * VECTORS rows x 8 columns in registers. The next
// elements are fetched into registers before the sums, which hide their latency. Where workgroups are few,
// KSPLIT groups of invocations share a tile, each summing its part of every 32 elements.
#param TILE : 16 | 32 | 64 | 128
#param VECTORS : 1 | 2
#param KSPLIT : 1 | 2 | 4  // above 1 only for TILE <= 32
#param WG                  // 2 * TILE / VECTORS * KSPLIT
#param X_TASKS             // 2 * TILE / WG, rounded up
#param WORDS               // per output row in 32 elements
#param W_TASKS             // 16 * WORDS / WG, rounded up
#include "gemm_shape.wgsl"
#include "gemm_rows.wgsl"
#include "gemm_weights.wgsl"
#include "gemm_results.wgsl"
#include "gemm_place.wgsl"

const QUADS = ${TILE}u / 4u;         // rows by four
const STRIDE = QUADS / ${VECTORS}u;  // between an invocation's row quads
const LANES = STRIDE * 8u;           // invocations per tile and split
var<workgroup> tile_x: array<F4, 32u * QUADS>;
var<workgroup> tile_w: array<F4, 32u * 16u>;

// A word of each of four columns. What lies past the end is another's, and multiplied by a scale of zero or never
// written.
fn fetch_words(block: u32, quad: u32, word: u32) -> U4 {
  let at = place(block, quad);
  return weights[(at.x * params.words + min(word, params.words - 1u)) * 16u + at.y];
}

fn group_of(word: u32) -> u32 {
  return min(word, params.words - 1u) / params.group_steps;
}

fn fetch_scale(block: u32, quad: u32, word: u32) -> Scales {
  let at = place(block, quad);
  return scale_words(at.x, at.y, group_of(word));
}

fn fetched_scale(words: Scales, word: u32) -> F4 {
  return select(F4(0.0), scale_of(words, group_of(word)), word < params.words);
}

// Weight task i of a chunk covers column quad i % 16 and this word.
fn task_word(chunk: u32, task: u32) -> u32 {
  return chunk * ${WORDS}u + task / 16u;
}

fn stage_words(task: u32, q: U4, scale: F4) {
  let to = task / 16u * (32u / ${WORDS}u) * 16u + task % 16u;
#if WEIGHT == q4
#repeat H 2
  let n${H} = q >> U4(16u * ${H}u);
#repeat J 4
  // A nibble as mantissa bits of 2^23, without shifting it down: the scale makes up for its place.
  tile_w[to + (${H}u * 4u + ${J}u) * 16u] =
      (bitcast<F4>((n${H} & U4(15u << (4u * ${J}u))) | U4(0x4b000000u)) -
       F4(8388608.0 + f32(8u << (4u * ${J}u)))) * (scale * (1.0 / f32(1u << (4u * ${J}u))));
#endrepeat
#endrepeat
#elif WEIGHT == q8
#repeat J 4
  tile_w[to + ${J}u * 16u] = F4(bitcast<vec4<i32>>(q << U4(24u - 8u * ${J}u)) >> U4(24u)) * scale;
#endrepeat
#endif
  // Not a product: what lies past the end may be no number.
#if WEIGHT == f16
  tile_w[to] = select(F4(0.0), half(q, 0u), scale > F4(0.0));
  tile_w[to + 16u] = select(F4(0.0), half(q, 1u), scale > F4(0.0));
#endif
#if WEIGHT == f32
  tile_w[to] = select(F4(0.0), bitcast<F4>(q), scale > F4(0.0));
#endif
}

// Four elements of x, zero past its end.
fn load_x(row: u32, quad: u32) -> F4 {
  let per_row = params.k / 4u;
  let value = row_quad(find_row(min(row, params.rows - 1u)), min(quad, per_row - 1u));
  return select(F4(0.0), value, quad < per_row);
}

// Task of x: four rows x four elements. Pairs of tasks read whole 32-byte sectors, and neighbouring pairs
// store to neighbouring banks.
fn task_quad(task: u32) -> u32 {
  return task / 2u % QUADS;
}
fn task_depth(task: u32) -> u32 {
  return task / (2u * QUADS) * 2u + task % 2u;
}

fn fetch_x(first_row: u32, chunk: u32, task: u32) -> mat4x4<f32> {
  let row = first_row + task_quad(task) * 4u;
  let depth = chunk * 8u + task_depth(task);
  return mat4x4<f32>(load_x(row, depth), load_x(row + 1u, depth), load_x(row + 2u, depth),
                     load_x(row + 3u, depth));
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
  let split = index / LANES;
  let tx = index % 8u;
  let ty = index % LANES / 8u;
#repeat V VECTORS
#repeat I 4
  var sum${V}_${I}_0 = F4(0.0);
  var sum${V}_${I}_1 = F4(0.0);
#endrepeat
#endrepeat
#repeat T X_TASKS
  let x_task${T} = index + ${T}u * ${WG}u;
  var x${T} = fetch_x(first_row, 0u, x_task${T});
#if NORM
  let per_row${T} = params.k / 4u - 1u;
  var gain${T} = norm_weight[min(task_depth(x_task${T}), per_row${T})];
  var squares${T} = F4(0.0);
#endif
#endrepeat
#repeat T W_TASKS
  let w_task${T} = index + ${T}u * ${WG}u;
  var words${T} = fetch_words(block, w_task${T} % 16u, task_word(0u, w_task${T}));
  var scale${T} = fetch_scale(block, w_task${T} % 16u, task_word(0u, w_task${T}));
#endrepeat
  let chunks = (params.k + 31u) / 32u;
  for (var chunk = 0u; chunk < chunks; chunk++) {
#repeat T X_TASKS
    if (x_task${T} < 8u * QUADS) {
#if NORM
      squares${T} += F4(dot(x${T}[0], x${T}[0]), dot(x${T}[1], x${T}[1]), dot(x${T}[2], x${T}[2]),
                        dot(x${T}[3], x${T}[3]));
      let m = transpose(mat4x4<f32>(x${T}[0] * gain${T}, x${T}[1] * gain${T}, x${T}[2] * gain${T},
                                    x${T}[3] * gain${T}));
#else
      let m = transpose(x${T});
#endif
      let to = task_depth(x_task${T}) * 4u * QUADS + task_quad(x_task${T});
#repeat J 4
      tile_x[to + ${J}u * QUADS] = m[${J}];
#endrepeat
    }
#endrepeat
#repeat T W_TASKS
    if (w_task${T} < 16u * ${WORDS}u) {
      stage_words(w_task${T}, words${T}, fetched_scale(scale${T}, task_word(chunk, w_task${T})));
    }
#endrepeat
    workgroupBarrier();
    if (chunk + 1u < chunks) {
#repeat T X_TASKS
      x${T} = fetch_x(first_row, chunk + 1u, x_task${T});
#if NORM
      gain${T} = norm_weight[min((chunk + 1u) * 8u + task_depth(x_task${T}), per_row${T})];
#endif
#endrepeat
#repeat T W_TASKS
      words${T} = fetch_words(block, w_task${T} % 16u, task_word(chunk + 1u, w_task${T}));
      scale${T} = fetch_scale(block, w_task${T} % 16u, task_word(chunk + 1u, w_task${T}));
#endrepeat
    }
    for (var i = 0u; i < 32u / ${KSPLIT}u; i++) {
      let k = split * (32u / ${KSPLIT}u) + i;
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
#repeat T X_TASKS
  if (x_task${T} < 8u * QUADS) {
    tile_x[task_quad(x_task${T}) * 8u + task_depth(x_task${T})] = squares${T};
  }
#endrepeat
  workgroupBarrier();
#endif
#if KSPLIT != 1
  // The other splits' sums come one split at a time through the weights' memory.
  let slot = index % LANES * 8u;
  for (var s = 1u; s < ${KSPLIT}u; s++) {
    if (split == s) {
#repeat I 4
      tile_w[slot + ${I}u] = sum0_${I}_0;
      tile_w[slot + 4u + ${I}u] = sum0_${I}_1;
#endrepeat
    }
    workgroupBarrier();
    if (split == 0u) {
#repeat I 4
      sum0_${I}_0 += tile_w[slot + ${I}u];
      sum0_${I}_1 += tile_w[slot + 4u + ${I}u];
#endrepeat
    }
    workgroupBarrier();
  }
  if (split != 0u) {
    return;
  }
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
