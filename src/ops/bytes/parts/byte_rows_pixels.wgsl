// Rows that are the pixels of images [N, C, H * W], whose planes are whole words.
//   channels
//   image_words, plane_words
//   last_quad     of all rows
@group(0) @binding(x) var<storage, read> x: array<u32>;

// Four pixels of each of four channels: transposed.
fn quad_words(quad: u32, word: u32) -> U4 {
  let inside = min(quad, params.last_quad);
  let image = inside / params.plane_words;
  let first = image * params.image_words + inside % params.plane_words;
  let last = params.channels - 1u;
#repeat C 4
  let c${C} = x[first + min(word * 4u + ${C}u, last) * params.plane_words];
#endrepeat
  let low01 = (c0 & 0xff00ffu) | ((c1 & 0xff00ffu) << 8u);
  let high01 = ((c0 >> 8u) & 0xff00ffu) | (c1 & 0xff00ff00u);
  let low23 = (c2 & 0xff00ffu) | ((c3 & 0xff00ffu) << 8u);
  let high23 = ((c2 >> 8u) & 0xff00ffu) | (c3 & 0xff00ff00u);
  return U4((low01 & 0xffffu) | (low23 << 16u), (high01 & 0xffffu) | (high23 << 16u),
            (low01 >> 16u) | (low23 & 0xffff0000u), (high01 >> 16u) | (high23 & 0xffff0000u));
}
