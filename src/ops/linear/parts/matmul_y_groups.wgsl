// y is a weight of 4-bit elements as linear layers have it (in panels of 64 rows), times a scale for `group_size` of
// them in a row: k counts its rows. There is no batch.
//   words, groups  of a row
const Y_ALONG_K = true;
@group(0) @binding(weights) var<storage, read> weights: array<u32>;
@group(0) @binding(scales) var<storage, read> scales: array<f32>;

fn y_element(batch: u32, k: u32, column: u32) -> f32 {
  let panel = k / 64u;
  let lane = k % 64u;
  let word = weights[(panel * params.words + column / 8u) * 64u + lane];
  let scale = scales[(panel * params.groups + column / params.group_size) * 64u + lane];
  return f32(i32((word >> (column % 8u * 4u)) & 15u) - 8) * scale;
}
