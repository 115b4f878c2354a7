// Four 8-bit integers in a word, the first lowest.
fn signed_byte(word: u32, at: u32) -> i32 {
  return bitcast<i32>(word << (24u - at % 4u * 8u)) >> 24u;
}

fn unsigned_byte(word: u32, at: u32) -> i32 {
  return i32((word >> (at % 4u * 8u)) & 0xffu);
}

fn signed_bytes(word: u32) -> vec4<i32> {
  return bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}

fn unsigned_bytes(word: u32) -> vec4<i32> {
  return vec4<i32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
}

// The low byte of each.
fn packed_bytes(values: vec4<i32>) -> u32 {
  let bytes = (bitcast<vec4<u32>>(values) & vec4<u32>(0xffu)) << vec4<u32>(0u, 8u, 16u, 24u);
  return bytes.x | bytes.y | bytes.z | bytes.w;
}
