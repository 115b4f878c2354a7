// Results row by row, those of each stacked matrix in an output of its own.
//   part_start    by part: its first panel,
//   part_columns    and its N
#param PARTS : 1 | 2 | 3  // stacked matrices, each with an output; 1 if GATED
#param WIDE = 0 : 0 | 1   // columns are multiples of 4, and results are read and written in fours
#if WIDE
alias Result = F4;
#else
alias Result = f32;
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

fn store_quad(row: u32, quad: u32, value: F4) {
  let part = part_of(quad / 16u);
  let column = (quad - params.part_start[part] * 16u) * 4u;
  let count = params.part_columns[part];
  let at = row * count + column;
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

#if RESIDUAL
fn residual_quad(row: u32, quad: u32) -> F4 {
  let count = params.part_columns.x;
#if WIDE
  return residual[row * count / 4u + quad];
#else
  let column = quad * 4u;
  let last = count - 1u;
  let at = row * count;
  return F4(residual[at + min(column, last)], residual[at + min(column + 1u, last)],
            residual[at + min(column + 2u, last)], residual[at + min(column + 3u, last)]);
#endif
}
#endif
