// A function of one element, as the unary operators have it, for a kernel's results.
//   activation_x, activation_y   its numbers
#param ACTIVATION = 0  // in a, x and y; 0: none
#include "elementwise_math.wgsl"
#if ACTIVATION

fn activated(a: f32) -> f32 {
  let x = params.activation_x;
  let y = params.activation_y;
  return ${ACTIVATION};
}
#endif
