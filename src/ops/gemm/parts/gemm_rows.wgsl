// Where the rows of a matrix product come from: a fragment that gives
//   Row                     a type: what is known of a row before its elements are
//   find_row(row) -> Row    of a row of this dispatch
//   row_quad(row: Row, quad) -> vec4<f32>   the elements 4 * quad to 4 * quad + 3 of K
//   row_element(row: Row, k) -> f32         an element, for kernels that take any K (ELEMENT f32)
// Callers keep all three within what there is. A fragment for which STAGED is 1 (kernels for one row take it) gives
//   prepare_rows(index)     by all invocations of a workgroup, before a barrier and what is above
#param LOAD = gemm_rows_plain
#param ELEMENT = F4 : F4 | f32  // what a binding of plain rows has
#param NORM = 0 : 0 | 1         // rows are normed: norm(r) = 1 / sqrt(mean(x[r]^2) + eps), else it and norm_weight are 1
#if NORM
@group(0) @binding(norm_weight) var<storage, read> norm_weight: array<${ELEMENT}>;
#endif
#include ${LOAD}
