// What every linear kernel shares: its bindings, and the way results leave it.
//
// A linear layer multiplies x [rows, K] by one to three weight matrices [N, K] that are stacked in one
// panel packing (ops/packing.h), or, GATED, computes silu(x gate^T) * (x up^T) from two of equal N.
//   out[r, n] = norm(r) * sum_k x[r, k] * norm_weight[k] * scale * W[n, k] + bias[n] + residual[r, n]
#param WEIGHT : q4 | q8 | f16 | f32 | none
#param XTYPE : F4 | U4 | f32  // elements of x
#param SCALES = 0 : 0 | 1
#param BIAS = 0 : 0 | 1
#param NORM = 0 : 0 | 1
#param RESIDUAL = 0 : 0 | 1
#param GATED : 0 | 1
#param PARTS : 1 | 2 | 3      // stacked matrices, each with an output; 1 if GATED
#param WIDE = 0 : 0 | 1       // columns are multiples of 4, and results are read and written in fours
#param FIXED = 0 : 0 | 1      // the params are not a uniform but part of the kernel: one load less before the others
#param AT_OUT0
alias F4 = vec4<f32>;
alias U4 = vec4<u32>;

struct Params {
  rows: u32,
  k: u32,            // elements of x per row
  steps: u32,        // loop steps per output row: 8 (q4) or 4 elements each
  group_steps: u32,  // steps per scale group
  groups: u32,       // scale groups per output row
  words: u32,        // words per output row
  blocks: u32,       // column blocks of this dispatch
  row_blocks: u32,   // row blocks of this dispatch
  first_panel: u32,  // of this dispatch among all panels
  pair_panels: u32,  // GATED: panels between a gate and its up
  group_size: u32,   // elements per scale group
  eps: f32,
  part_start: U4,    // by part: its first panel,
  part_columns: U4,  //   its N,
  part_stride: U4,   //   elements between its rows in the output,
  part_offset: U4,   //   and of its first column
}

#if WIDE
alias Result = F4;
#else
alias Result = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<${XTYPE}>;
#if WEIGHT != none
@group(0) @binding(1) var<storage, read> weights: array<U4>;
#endif
#if SCALES
#param AT_SCALES
@group(0) @binding(${AT_SCALES}) var<storage, read> scales: array<F4>;
#endif
#if BIAS
#param AT_BIAS
@group(0) @binding(${AT_BIAS}) var<storage, read> bias: array<F4>;
#endif
#if NORM
#param AT_NORM
@group(0) @binding(${AT_NORM}) var<storage, read> norm_weight: array<${XTYPE}>;
#endif
#if RESIDUAL
#param AT_RESIDUAL
@group(0) @binding(${AT_RESIDUAL}) var<storage, read> residual: array<Result>;
#endif
@group(0) @binding(${AT_OUT0}) var<storage, read_write> out0: array<Result>;
#if PARTS != 1
#param AT_OUT1
@group(0) @binding(${AT_OUT1}) var<storage, read_write> out1: array<Result>;
#if PARTS != 2
#param AT_OUT2
@group(0) @binding(${AT_OUT2}) var<storage, read_write> out2: array<Result>;
#endif
#endif
#if FIXED
#param PARAMS  // their words
#param FLOATS  // those that are floats
const P = array<u32, 28>(${PARAMS});
const F = array(${FLOATS});
const params = Params(P[0], P[1], P[2], P[3], P[4], P[5], P[6], P[7], P[8], P[9], P[10], F[0],
                      U4(P[12], P[13], P[14], P[15]), U4(P[16], P[17], P[18], P[19]),
                      U4(P[20], P[21], P[22], P[23]), U4(P[24], P[25], P[26], P[27]));
#else
#param AT_PARAMS
@group(0) @binding(${AT_PARAMS}) var<uniform> params: Params;
#endif

fn put(part: u32, at: u32, value: Result) {
#if PARTS == 1
  out0[at] = value;
#else
  if (part == 0u) {
    out0[at] = value;
#if PARTS == 2
  } else {
    out1[at] = value;
#else
  } else if (part == 1u) {
    out1[at] = value;
  } else {
    out2[at] = value;
#endif
  }
#endif
}

// The stacked matrix that a panel belongs to.
fn part_of(panel: u32) -> u32 {
#if PARTS == 1
  return 0u;
#elif PARTS == 2
  return u32(panel >= params.part_start.y);
#else
  return u32(panel >= params.part_start.y) + u32(panel >= params.part_start.z);
#endif
}

#if RESIDUAL
// The residual of four neighbouring columns of a row.
fn fetch_residual(row: u32, quad: u32) -> F4 {
#if WIDE
  return residual[row * params.part_stride.x / 4u + quad];
#else
  let column = quad * 4u;
  let last = params.part_columns.x - 1u;
  let at = row * params.part_stride.x;
  return F4(residual[at + min(column, last)], residual[at + min(column + 1u, last)],
            residual[at + min(column + 2u, last)], residual[at + min(column + 3u, last)]);
#endif
}
#endif

// Four neighbouring sums of a row, with what they are to be added to. `quad` counts columns by four through
// all panels; sums1 are those of the second matrix if GATED.
fn finish_with(row: u32, quad: u32, sums0: F4, sums1: F4, added: F4) {
  var value = sums0;
#if BIAS
  value += bias[quad];
#endif
#if GATED
#if BIAS
  let up = sums1 + bias[quad + params.pair_panels * 16u];
#else
  let up = sums1;
#endif
  value = value / (F4(1.0) + exp(-value)) * up;
#endif
  value += added;
  let part = part_of(quad / 16u);
  let column = (quad - params.part_start[part] * 16u) * 4u;
  let count = params.part_columns[part];
  let at = row * params.part_stride[part] + params.part_offset[part] + column;
#if WIDE
  if (column < count) {
    put(part, at / 4u, value);
  }
#else
#repeat J 4
  if (column + ${J}u < count) {
    put(part, at + ${J}u, value[${J}]);
  }
#endrepeat
#endif
}

fn finish(row: u32, quad: u32, sums0: F4, sums1: F4) {
#if RESIDUAL
  finish_with(row, quad, sums0, sums1, fetch_residual(row, quad));
#else
  finish_with(row, quad, sums0, sums1, F4(0.0));
#endif
}
