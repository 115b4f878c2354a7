// A matrix product's rows (gemm_rows.wgsl) that are the patches of images [N, C, H, W] under a window: element k is
// that of channel k / (KERNEL_HEIGHT * KERNEL_WIDTH) under one of the window's places, zero where that is padding.
#param KERNEL_HEIGHT
#param KERNEL_WIDTH
#param PADDED : 0 | 1
#include "image_window.wgsl"
alias Row = Window;

fn find_row(row: u32) -> Row {
  return find_window(row);
}

fn row_element(row: Row, k: u32) -> f32 {
  const TAPS = ${KERNEL_HEIGHT}u * ${KERNEL_WIDTH}u;
  let channel = k / TAPS;
  let tap = k % TAPS;
  let y = row.y + i32(tap / ${KERNEL_WIDTH}u * params.dilation_y);
  let x = row.x + i32(tap % ${KERNEL_WIDTH}u * params.dilation_x);
  let plane = row.first + channel * params.in_height * params.in_width;
#if PADDED
  let inside = y >= 0 && u32(y) < params.in_height && x >= 0 && u32(x) < params.in_width;
  let at = select(0u, plane + u32(y) * params.in_width + u32(x), inside);
  return select(0.0, images[at], inside);
#else
  return images[plane + u32(y) * params.in_width + u32(x)];
#endif
}

fn row_quad(row: Row, quad: u32) -> F4 {
  let k = quad * 4u;
  return F4(row_element(row, k), row_element(row, k + 1u), row_element(row, k + 2u), row_element(row, k + 3u));
}
