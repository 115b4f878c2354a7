// An optional weight and bias for each channel, after a normalization.
#param WEIGHT : 0 | 1  // whether there is one
#param BIAS : 0 | 1
#if WEIGHT
@group(0) @binding(weight) var<storage, read> weight: array<f32>;
#endif
#if BIAS
@group(0) @binding(bias) var<storage, read> bias: array<f32>;
#endif

fn affine(normalized: f32, channel: u32) -> f32 {
  var v = normalized;
#if WEIGHT
  v *= weight[channel];
#endif
#if BIAS
  v += bias[channel];
#endif
  return v;
}
