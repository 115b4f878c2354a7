// Rows that lie one after the other.
@group(0) @binding(x) var<storage, read> x: array<${ELEMENT}>;
alias Row = u32;  // where it begins

#if ELEMENT == F4
fn find_row(row: u32) -> Row {
  return row * (params.k / 4u);
}

fn row_quad(row: Row, quad: u32) -> F4 {
  return x[row + quad];
}
#else
fn find_row(row: u32) -> Row {
  return row * params.k;
}

fn row_element(row: Row, k: u32) -> f32 {
  return x[row + k];
}
#endif
