// What all kernels of the matrix product share. It multiplies rows x [rows, K] by one to three weight matrices
// [N, K] that are stacked in one panel packing (ops/packing.h), or, GATED, computes silu(x gate^T) * (x up^T)
// from two of equal N:
//   out[r, n] = norm(r) * sum_k x[r, k] * norm_weight[k] * scale * W[n, k] + bias[n] + residual[r, n]
// Where x comes from is the fragment LOAD (gemm_rows.wgsl), how results leave the fragment STORE
// (gemm_results.wgsl); kernels differ in how they multiply.
#param GATED : 0 | 1
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
//   rows          of this dispatch
//   eps           of the norm
#params
