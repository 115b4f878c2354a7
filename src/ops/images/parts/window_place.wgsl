#param TRANSPOSED : 0 | 1  // each element of x spreads over a window of the output
// Where a tap of the window falls in x for output `at`, in one dimension; negative or past the end: nowhere.
fn place(at: u32, tap: u32, stride: u32, padding: u32, dilation: u32) -> i32 {
#if TRANSPOSED
  let ahead = i32(at + padding) - i32(tap * dilation);
  return select(-1, ahead / i32(stride), ahead >= 0 && ahead % i32(stride) == 0);
#else
  return i32(at * stride + tap * dilation) - i32(padding);
#endif
}
