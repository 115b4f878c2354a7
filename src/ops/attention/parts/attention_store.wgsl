// The output, in groups of 4 elements of a row as in attention_load.wgsl.
#if VEC
@group(0) @binding(out) var<storage, read_write> out: array<vec4<f32>>;
fn store_out(base: u32, i: u32, value: vec4<f32>) {
  out[base / 4u + i] = value;
}
#else
@group(0) @binding(out) var<storage, read_write> out: array<f32>;
fn store_out(base: u32, i: u32, value: vec4<f32>) {
  out[base + 4u * i] = value.x;
  if (4u * i + 1u < ${DV}u) { out[base + 4u * i + 1u] = value.y; }
  if (4u * i + 2u < ${DV}u) { out[base + 4u * i + 2u] = value.z; }
  if (4u * i + 3u < ${DV}u) { out[base + 4u * i + 3u] = value.w; }
}
#endif

// acc / sum; a query that saw no key has no mean.
fn normalized(acc: vec4<f32>, sum: f32) -> vec4<f32> {
  if (sum > 0.0) {
    return acc / sum;
  }
  return vec4<f32>(params.no_keys);
}
