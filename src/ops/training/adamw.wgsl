// A step of AdamW in place, four elements in an invocation: what buffers have behind the last is padding.
#param WG
//   count   invocations
//   keep    what weight decay leaves of the parameter
//   gain1, gain2         one less beta1, beta2
//   unbias1, unbias2     what corrects the moments for their start at zero
#params
@group(0) @binding(weight) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(moment) var<storage, read_write> moment: array<vec4<f32>>;
@group(0) @binding(square) var<storage, read_write> square: array<vec4<f32>>;
@group(0) @binding(gradient) var<storage, read> gradient: array<vec4<f32>>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  let g = gradient[i];
  let m = moment[i] * params.beta1 + g * params.gain1;
  let v = square[i] * params.beta2 + g * g * params.gain2;
  let step = (m * params.unbias1) / (sqrt(v * params.unbias2) + params.eps);
  moment[i] = m;
  square[i] = v;
  weight[i] = weight[i] * params.keep - params.rate * step;
}
