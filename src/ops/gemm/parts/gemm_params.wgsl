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
alias F4 = vec4<f32>;
alias U4 = vec4<u32>;

//   k             elements of x per row
//   steps         loop steps per output row: 8 (q4) or 4 elements each
//   group_steps   steps per scale group
//   groups        scale groups per output row
//   words         words per output row
//   blocks        column blocks of this dispatch
//   row_blocks    row blocks of this dispatch
//   first_panel   of this dispatch among all panels
//   pair_panels   GATED: panels between a gate and its up
//   group_size    elements per scale group
//   part_start    by part: its first panel,
//   part_columns    its N,
//   part_stride     elements between its rows in the output,
//   part_offset     and of its first column
#params

#if WIDE
alias Result = F4;
#else
alias Result = f32;
#endif
@group(0) @binding(x) var<storage, read> x: array<${XTYPE}>;
#if WEIGHT != none
@group(0) @binding(weights) var<storage, read> weights: array<U4>;
#endif
#if SCALES
@group(0) @binding(scales) var<storage, read> scales: array<F4>;
#endif
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<F4>;
#endif
#if NORM
@group(0) @binding(norm_weight) var<storage, read> norm_weight: array<${XTYPE}>;
#endif
#if RESIDUAL
@group(0) @binding(residual) var<storage, read> residual: array<Result>;
#endif
@group(0) @binding(out0) var<storage, read_write> out0: array<Result>;
#if PARTS != 1
@group(0) @binding(out1) var<storage, read_write> out1: array<Result>;
#if PARTS != 2
@group(0) @binding(out2) var<storage, read_write> out2: array<Result>;
#endif
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
