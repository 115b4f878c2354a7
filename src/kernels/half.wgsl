// What becomes of numbers that are stored as f16, in every kernel alike: those past f16's range become its largest,
// +-65504, infinities and NaN stay what they are. WGSL leaves open what pack2x16float and f16() make of such numbers, and
// one adapter's pack2x16float spoils the neighbour in the word. base/half.h does the same on the host.
const MOST_HALF = 65504.0;
const INFINITE_BITS = 0x7f800000u;

// Four numbers that f16() may be given: infinities and NaN it keeps, since f16 has them.
fn within_half(v: vec4<f32>) -> vec4<f32> {
  let finite = (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) < vec4<u32>(INFINITE_BITS);
  return select(v, clamp(v, vec4<f32>(-MOST_HALF), vec4<f32>(MOST_HALF)), finite);
}

// Two of them in a word.
fn packed_halves(pair: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(pair);
  let magnitudes = bits & vec2<u32>(0x7fffffffu);
  let special = magnitudes >= vec2<u32>(INFINITE_BITS);
  let finite = clamp(select(pair, vec2<f32>(0.0), special), vec2<f32>(-MOST_HALF), vec2<f32>(MOST_HALF));
  let named = select(vec2<u32>(0x7c00u), vec2<u32>(0x7e00u), magnitudes > vec2<u32>(INFINITE_BITS));
  let others = select(vec2<u32>(0u), named | ((bits >> vec2<u32>(16u)) & vec2<u32>(0x8000u)), special);
  return pack2x16float(finite) | others.x | (others.y << 16u);
}
