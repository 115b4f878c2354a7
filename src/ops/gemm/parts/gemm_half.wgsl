// The low (0) or high (1) f16 of each word.
fn half(words: vec4<u32>, which: u32) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(words.x)[which], unpack2x16float(words.y)[which],
                   unpack2x16float(words.z)[which], unpack2x16float(words.w)[which]);
}
