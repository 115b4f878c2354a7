// Where the rows of a matrix product come from: a fragment that gives
//   Row                     a type: what is known of a row before its elements are
//   find_row(row) -> Row    of a row of this dispatch
//   row_quad(row: Row, quad) -> vec4<f32>   the elements 4 * quad to 4 * quad + 3 of K
//   row_element(row: Row, k) -> f32         an element, for kernels that take any K (ELEMENT f32)
// Callers keep all three within what there is, and include elementwise_math.wgsl for what a fragment does to elements.
// Where STAGED, so many rows of a block pass through workgroup memory, and a fragment that can have them do so gives
//   prepare_rows(first_row, last_row, index)   by all invocations; rows past the last are copies of it
#param STAGED = 0 : 0 | 1 | 4
#param LOAD = gemm_rows_plain
#param ELEMENT = F4 : F4 | f32  // what a binding of plain rows has
#param NORM = 0 : 0 | 1         // rows are normed: norm(r) = 1 / sqrt(mean(x[r]^2) + eps), else it and norm_weight are 1
#if NORM
@group(0) @binding(norm_weight) var<storage, read> norm_weight: array<${ELEMENT}>;
#endif
#include ${LOAD}
#if STAGED

// By all invocations of a workgroup, before what the fragment gives of these rows.
fn stage_rows(first_row: u32, last_row: u32, index: u32) {
  prepare_rows(first_row, last_row, index);
  workgroupBarrier();
}
#endif
