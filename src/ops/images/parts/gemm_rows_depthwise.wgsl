// A matrix product's rows (gemm_rows.wgsl) that are the pixels of a depthwise convolution, computed when they are asked
// for: element k is channel k under its own kernel, whose taps are packed in panels of channels.
#param KERNEL_HEIGHT
#param KERNEL_WIDTH
#param PADDED : 0 | 1
#param QUADS                  // channels by four
#param TAP_BIAS = 0 : 0 | 1
#param BETWEEN = 0            // a function of its results, in a, x and y; 0: none
//   between_x, between_y   its numbers
//   kernel_height          as above
#include "image_window.wgsl"
@group(0) @binding(taps) var<storage, read> taps: array<F4>;
#if TAP_BIAS
@group(0) @binding(tap_bias) var<storage, read> tap_bias: array<F4>;
#endif
#if BETWEEN

fn between(a: f32) -> f32 {
  let x = params.between_x;
  let y = params.between_y;
  return ${BETWEEN};
}
#endif

// Known to compilers, which then unroll the loop, where it is there once.
fn kernel_height() -> u32 {
#if STAGED
  return ${KERNEL_HEIGHT}u;
#else
  return params.kernel_height;
#endif
}

fn depthwise_quad(window: Window, quad: u32) -> F4 {
  let plane = params.in_height * params.in_width;
  let first = window.first + quad * 4u * plane;
  let tap = quad / 16u * (${KERNEL_HEIGHT}u * ${KERNEL_WIDTH}u * 16u) + quad % 16u;
  var sum = F4(0.0);
  for (var ky = 0u; ky < kernel_height(); ky++) {
    let y = window.y + i32(ky * params.dilation_y);
    for (var kx = 0u; kx < ${KERNEL_WIDTH}u; kx++) {
      let x = window.x + i32(kx * params.dilation_x);
      let weights = taps[tap + (ky * ${KERNEL_WIDTH}u + kx) * 16u];
#if PADDED
      let inside = y >= 0 && u32(y) < params.in_height && x >= 0 && u32(x) < params.in_width;
      let at = select(0u, first + u32(y) * params.in_width + u32(x), inside);
      let value = F4(images[at], images[at + plane], images[at + 2u * plane], images[at + 3u * plane]);
      sum += select(F4(0.0), value, inside) * weights;
#else
      let at = first + u32(y) * params.in_width + u32(x);
      sum += F4(images[at], images[at + plane], images[at + 2u * plane], images[at + 3u * plane]) * weights;
#endif
    }
  }
#if TAP_BIAS
  sum += tap_bias[quad];
#endif
#if BETWEEN
  sum = F4(between(sum.x), between(sum.y), between(sum.z), between(sum.w));
#endif
  return sum;
}

#if STAGED
var<workgroup> staged: array<F4, ${STAGED}u * ${QUADS}u>;
alias Row = u32;  // among those that are staged

fn find_row(row: u32) -> Row {
  return row % ${STAGED}u;
}

fn row_quad(row: Row, quad: u32) -> F4 {
  return staged[quad * ${STAGED}u + row];
}

fn prepare_rows(first_row: u32, last_row: u32, index: u32) {
  for (var item = index; item < ${STAGED}u * ${QUADS}u; item += ${WG}u) {
    let row = min(first_row + item % ${STAGED}u, last_row);
    staged[item] = depthwise_quad(find_window(row), item / ${STAGED}u);
  }
}
#else
alias Row = Window;

fn find_row(row: u32) -> Row {
  return find_window(row);
}

fn row_quad(row: Row, quad: u32) -> F4 {
  return depthwise_quad(row, quad);
}
#endif
