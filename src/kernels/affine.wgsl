// An optional weight and bias for each channel, after a normalization.
#param WEIGHT : 0 | 1  // whether there is one
#param BIAS : 0 | 1
#if WEIGHT
#param WEIGHT_BINDING
@group(0) @binding(${WEIGHT_BINDING}) var<storage, read> weight: array<f32>;
#endif
#if BIAS
#param BIAS_BINDING
@group(0) @binding(${BIAS_BINDING}) var<storage, read> bias: array<f32>;
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
