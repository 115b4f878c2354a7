// Rows that are what the places of a window see of images [N, C, H, W]: element k is of channel k % C under tap k / C,
// x's zero point where there is nothing.
#param ALIGNED : 0 | 1  // channels are multiples of 4
//   channels
//   patches         of an image, patches_wide of them in a row
//   padding_byte
#include "window_place.wgsl"
@group(0) @binding(x) var<storage, read> x: array<u32>;

struct Window { image: u32, y: u32, x: u32 }

// The first of the places in the planes of an image that a tap sees; negative: none.
fn find_tap(window: Window, tap: u32) -> i32 {
  let at_y = place(window.y, tap / params.kernel_width, params.stride_y, params.padding_y, params.dilation_y);
  let at_x = place(window.x, tap % params.kernel_width, params.stride_x, params.padding_x, params.dilation_x);
  let inside = at_y >= 0 && at_x >= 0 && u32(at_y) < params.in_height && u32(at_x) < params.in_width;
  return select(-1, at_y * i32(params.in_width) + at_x, inside);
}

fn element(window: Window, pixel: i32, channel: u32) -> u32 {
  let plane = window.image * params.channels + min(channel, params.channels - 1u);
  let at = plane * params.in_height * params.in_width + u32(max(pixel, 0));
  return select(params.padding_byte, (x[at / 4u] >> (at % 4u * 8u)) & 0xffu, pixel >= 0);
}

fn row_word(row: u32, word: u32) -> u32 {
  let number = min(row, params.count - 1u);
  let at = number % params.patches;
  let window = Window(number / params.patches, at / params.patches_wide, at % params.patches_wide);
#if ALIGNED
  let tap = word * 4u / params.channels;
  let channel = word * 4u - tap * params.channels;
  let pixel = find_tap(window, tap);
#endif
  var bytes = 0u;
  for (var b = 0u; b < 4u; b++) {
#if ALIGNED
    bytes |= element(window, pixel, channel + b) << (8u * b);
#else
    let k = word * 4u + b;
    bytes |= element(window, find_tap(window, k / params.channels), k % params.channels) << (8u * b);
#endif
  }
  return bytes;
}

fn quad_words(quad: u32, word: u32) -> U4 {
  var words = U4();
  for (var r = 0u; r < 4u; r++) {
    words[r] = row_word(quad * 4u + r, word);
  }
  return words;
}
