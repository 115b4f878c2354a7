// a / b as IEEE 754 rounds it, for quotients below 2^20 of numbers that leave it room; WGSL's own may be off by a few
// units in the last place. Elsewhere that. a - q * b is known exactly, from halves of 12 bits each.
fn exact_quotient(a: f32, b: f32) -> f32 {
  let scale = select(1.0, 0x1p-64f, abs(b) > 0x1p+125f);  // it is good for divisors up to 2^126
  let q = (a * scale) / (b * scale);
  let q_high = bitcast<f32>(bitcast<u32>(q) & 0xfffff000u);
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let q_low = q - q_high;
  let b_low = b - b_high;
  let rest = ((a - q_high * b_high) - q_high * b_low - q_low * b_high) - q_low * b_low;
  let has_room = abs(b) > 0x1p-60f && abs(b) < 0x1p+60f && abs(a) > 0x1p-60f && abs(q) < 0x1p+20f;
  return select(q, q + rest / b, has_room);
}
