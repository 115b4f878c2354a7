// The product rounded, before anything is added: compilers make one operation of both. There are never so many
// invocations.
fn apart(product: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(product) + (params.count >> 31u));
}
